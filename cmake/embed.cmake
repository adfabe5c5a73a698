# cmake -D FILE=... -D NAME=... -D OUT=... -P embed.cmake: a C file with the bytes of FILE and a NUL as NAME. A line
# "@insert OTHER@" of FILE stands for the file OTHER beside it. Bytes are joined as hexadecimal numbers, in which CMake
# finds nothing that it would change. SPDX-License-Identifier: Apache-2.0
file(READ ${FILE} hex HEX)
get_filename_component(dir ${FILE} DIRECTORY)
file(STRINGS ${FILE} inserts REGEX "^@insert [a-z_.]+@$")
foreach(line IN LISTS inserts)
  string(REGEX REPLACE "^@insert (.*)@$" "\\1" other "${line}")
  file(READ ${dir}/${other} part HEX)
  string(HEX "${line}\n" marker)
  string(REPLACE "${marker}" "${part}" hex "${hex}")
endforeach()
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
string(REGEX REPLACE "(................................................................................)" "\\1\n" bytes "${bytes}")
file(WRITE ${OUT} "extern const char ${NAME}[];\nconst char ${NAME}[] = {\n${bytes}0\n};\n")
