# cmake -D FILE=... -D NAME=... -D OUT=... -P embed.cmake: a C file with the bytes of FILE and a NUL as NAME.
# SPDX-License-Identifier: Apache-2.0
file(READ ${FILE} hex HEX)
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
string(REGEX REPLACE "(................................................................................)" "\\1\n" bytes "${bytes}")
file(WRITE ${OUT} "extern const char ${NAME}[];\nconst char ${NAME}[] = {\n${bytes}0\n};\n")
