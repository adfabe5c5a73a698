# Libraries that do what galerne does not exist for (docs/DECISIONS.md). All from the distribution; `make deps`.
# SPDX-License-Identifier: Apache-2.0
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
pkg_check_modules(JANSSON REQUIRED IMPORTED_TARGET jansson)
pkg_check_modules(YAML REQUIRED IMPORTED_TARGET yaml-0.1)
pkg_check_modules(SQLITE REQUIRED IMPORTED_TARGET sqlite3)
pkg_check_modules(ZSTD REQUIRED IMPORTED_TARGET libzstd)
pkg_check_modules(ZLIB REQUIRED IMPORTED_TARGET zlib)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(PLPLOT REQUIRED IMPORTED_TARGET plplot)
pkg_check_modules(EDIT IMPORTED_TARGET libedit) # optional: line editing
pkg_check_modules(MICROHTTPD IMPORTED_TARGET libmicrohttpd>=0.9.71) # optional: the page of runs
set(GAL_LIBS PkgConfig::JANSSON PkgConfig::YAML PkgConfig::SQLITE PkgConfig::ZSTD PkgConfig::ZLIB PkgConfig::PCRE2 PkgConfig::PLPLOT Threads::Threads m)
