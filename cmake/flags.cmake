# Warnings, hardening and floating-point rules for every file (docs/internals/style.md says why each).
# SPDX-License-Identifier: Apache-2.0
include(CheckCCompilerFlag)

set(GAL_FLAGS
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wdouble-promotion -Wformat=2 -Wundef -Wvla -Walloca
  -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition -Wnested-externs -Wpointer-arith -Wcast-qual
  -Wcast-align -Wwrite-strings -Wimplicit-fallthrough -Wswitch-enum -Wnull-dereference -Wredundant-decls -Wdate-time)
if(NOT GAL_SANITIZE AND NOT GAL_TSAN) # sanitizers put red zones around every local
  list(APPEND GAL_FLAGS -Wframe-larger-than=16384)
endif()
if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
  list(APPEND GAL_FLAGS -Wlogical-op -Wduplicated-cond -Wduplicated-branches -Wjump-misses-init -Wtrampolines
    -Warith-conversion -Wformat-overflow=2 -Wformat-truncation=2 -Wstringop-overflow=4 -Wcast-align=strict)
elseif(CMAKE_C_COMPILER_ID MATCHES "Clang")
  list(APPEND GAL_FLAGS -Wcomma -Wunreachable-code -Wassign-enum -Wconditional-uninitialized -Wdocumentation)
endif()
if(GAL_WERROR)
  list(APPEND GAL_FLAGS -Werror)
endif()

# Results must not depend on what a compiler likes to contract: fused multiply-adds are written out.
list(APPEND GAL_FLAGS -fno-math-errno -ffp-contract=off)
list(APPEND GAL_FLAGS -fno-common -fstack-protector-strong -fstack-clash-protection)
if(GAL_SANITIZE)
  list(APPEND GAL_FLAGS -fsanitize=address,undefined,float-cast-overflow,bounds -fno-sanitize-recover=all
    -fno-omit-frame-pointer)
  add_link_options(-fsanitize=address,undefined)
elseif(GAL_TSAN)
  list(APPEND GAL_FLAGS -fsanitize=thread -fno-omit-frame-pointer)
  add_link_options(-fsanitize=thread)
elseif(NOT CMAKE_BUILD_TYPE STREQUAL "Debug")
  list(APPEND GAL_FLAGS -D_FORTIFY_SOURCE=2)
endif()
if(GAL_FUZZ)
  list(APPEND GAL_FLAGS -fsanitize=fuzzer-no-link)
endif()
if(CMAKE_BUILD_TYPE STREQUAL "Debug")
  list(APPEND GAL_FLAGS -ftrivial-auto-var-init=pattern -DGAL_DEBUG=1)
endif()
list(APPEND GAL_FLAGS -ffile-prefix-map=${CMAKE_SOURCE_DIR}/=)
add_compile_options("$<$<COMPILE_LANGUAGE:C>:${GAL_FLAGS}>")
add_compile_definitions(_POSIX_C_SOURCE=200809L _DEFAULT_SOURCE)
