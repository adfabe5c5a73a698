# Toolchain file: builds for 64-bit ARM with the distribution's cross compiler, against the packages that
# tools/aarch64.sh unpacked into GAL_SYSROOT; tests run under qemu's user mode. SPDX-License-Identifier: Apache-2.0
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(GAL_SYSROOT "" CACHE PATH "Root folder of the target's packages")
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES GAL_SYSROOT)
set(CMAKE_SYSROOT ${GAL_SYSROOT})
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
set(ENV{PKG_CONFIG_SYSROOT_DIR} ${GAL_SYSROOT})
set(ENV{PKG_CONFIG_LIBDIR} ${GAL_SYSROOT}/usr/lib/aarch64-linux-gnu/pkgconfig:${GAL_SYSROOT}/usr/share/pkgconfig)
# Which processor: QEMU_CPU in the environment (tools/aarch64.sh).
find_program(GAL_QEMU NAMES qemu-aarch64-static qemu-aarch64)
set(CMAKE_CROSSCOMPILING_EMULATOR ${GAL_QEMU} -L ${GAL_SYSROOT})
