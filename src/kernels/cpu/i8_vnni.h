/* i8_vnni.h - what i8_body.h asks of levels that have dot products of bytes without and with a sign (VNNI): weights'
 * bytes are 128 more than their numbers, and what that adds is where sums start. SPDX-License-Identifier: Apache-2.0
 */
#ifndef GAL_KERNELS_CPU_I8_VNNI_H
#define GAL_KERNELS_CPU_I8_VNNI_H

#define i8_offset(natural) (GAL_I8_OFFSET - (natural))
GAL__INLINE S i8_start(const char *bias, int natural) {
    int32_t x;
    (void)natural;
    memcpy(&x, bias, sizeof x);
    return s_set1(x);
}

#endif
