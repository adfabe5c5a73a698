#!/bin/sh
# faults.sh LIBRARY yes|no: whether the library contains the places of base/fault.h, as its build asked. A normal build
# has none of them. SPDX-License-Identifier: Apache-2.0
set -eu
found=no
nm "$1" 2>/dev/null | grep -Eq '[[:space:]]gal_(set_)?fault(_move|_hook)?$' && found=yes
[ "$found" = "$2" ] && exit 0
echo "$1: places where tests make the system fail (gal_fault): expected $2, found $found"
exit 1
