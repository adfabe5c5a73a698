/* turn.h - a block of KEY_BLOCK keys turned so that the keys' numbers of one column stand side by side, without a
 * conversion: floats, halves or bytes. Include after tile.h.
 *
 * Z is some lanes of 16 bytes. Numbers are zipped within lanes, in log2(numbers of a lane) steps, and whole vectors
 * are stored, so columns do not stand in their order: turned_at() says where each is. VL keys (bytes: 16) of a column
 * are together. Columns of rows beyond n mean nothing: they repeat the last one. SPDX-License-Identifier: Apache-2.0
 */
#ifndef GAL_KERNELS_CPU_TURN_H
#define GAL_KERNELS_CPU_TURN_H

enum { LANE = 16 /* bytes */, LANES = (int)sizeof(Z) / LANE };

/* Rows that lie evenly spaced. */
typedef struct turn_rows {
    const char *p;
    int64_t stride; /* bytes */
    int64_t n, size;
} turn_rows;

VINLINE const char *turn_row(const turn_rows *t, int64_t r) { return t->p + GAL_MIN(r, t->n - 1) * t->stride; }

/* Where key j of column 16 e + c is, in bytes; j is a multiple of what is together, unit the bytes of a number.
 * Floats: columns in order. Halves: c and c + 8 are neighbours. Bytes: columns 16 apart are, as many as a Z has
 * lanes. */
VINLINE int64_t turned_at(int64_t e, int64_t c, int64_t j, const int unit) {
    if (unit == 4) return ((16 * e + c) * KEY_BLOCK + j) * 4;
    if (unit == 2) return ((8 * e + c % 8) * KEY_BLOCK + j) * 4 + c / 8 * VL * 2;
    return ((e / LANES * LANE + c) * KEY_BLOCK + j / LANE * LANE) * LANES + e % LANES * LANE + j % LANE;
}

/* VL rows at a time. */
VINLINE void turn_floats(char *to, turn_rows t) {
    for (int64_t r = 0; r < t.n; r += VL) {
        const char *row[VL];
        for (int i = 0; i < VL; i++) row[i] = turn_row(&t, r + i);
        for (int64_t d = 0; d < t.size; d += 4) {
            Z a[4], b[4];
            for (int i = 0; i < 4; i++) a[i] = z_floats(row, i, d * 4);
            b[0] = z_lo32(a[0], a[1]);
            b[1] = z_hi32(a[0], a[1]);
            b[2] = z_lo32(a[2], a[3]);
            b[3] = z_hi32(a[2], a[3]);
            for (int i = 0; i < 2; i++) {
                z_store(to + turned_at(d / 16, d % 16 + 2 * i, r, 4), z_lo64(b[i], b[2 + i]));
                z_store(to + turned_at(d / 16, d % 16 + 2 * i + 1, r, 4), z_hi64(b[i], b[2 + i]));
            }
        }
    }
}

/* VL rows at a time, in each lane 8 of them. */
VINLINE void turn_halves(char *to, turn_rows t) {
    for (int64_t r = 0; r < t.n; r += VL) {
        const char *row[VL];
        for (int i = 0; i < VL; i++) row[i] = turn_row(&t, r + i);
        for (int64_t d = 0; d < t.size; d += 16) {
            Z a[8], b[8], c[8];
            for (int i = 0; i < 8; i++) a[i] = z_halves(row, i, d * 2);
            for (int i = 0; i < 4; i++) { /* b[2 i] has the lower columns of rows 2 i and 2 i + 1 */
                b[2 * i] = z_lo16(a[2 * i], a[2 * i + 1]);
                b[2 * i + 1] = z_hi16(a[2 * i], a[2 * i + 1]);
            }
            for (int i = 0; i < 8; i += 4) { /* c[i + j] has columns 2 j and 2 j + 1 of four rows */
                c[i] = z_lo32(b[i], b[i + 2]);
                c[i + 1] = z_hi32(b[i], b[i + 2]);
                c[i + 2] = z_lo32(b[i + 1], b[i + 3]);
                c[i + 3] = z_hi32(b[i + 1], b[i + 3]);
            }
            for (int i = 0; i < 4; i++) {
                z_store(to + turned_at(d / 16, 2 * i, r, 2), z_by_columns(z_lo64(c[i], c[i + 4])));
                z_store(to + turned_at(d / 16, 2 * i + 1, r, 2), z_by_columns(z_hi64(c[i], c[i + 4])));
            }
        }
    }
}

/* 16 rows at a time. */
VINLINE void turn_bytes(char *to, turn_rows t) {
    for (int64_t r = 0; r < t.n; r += LANE) {
        for (int64_t d = 0; d < t.size; d += (int64_t)sizeof(Z)) {
            Z a[16], b[16];
            for (int i = 0; i < 16; i++) b[i] = z_load(turn_row(&t, r + i) + d);
            for (int i = 0; i < 8; i++) {
                a[2 * i] = z_lo8(b[2 * i], b[2 * i + 1]);
                a[2 * i + 1] = z_hi8(b[2 * i], b[2 * i + 1]);
            }
            for (int i = 0; i < 16; i += 4) {
                b[i] = z_lo16(a[i], a[i + 2]);
                b[i + 1] = z_hi16(a[i], a[i + 2]);
                b[i + 2] = z_lo16(a[i + 1], a[i + 3]);
                b[i + 3] = z_hi16(a[i + 1], a[i + 3]);
            }
            for (int i = 0; i < 16; i += 8)
                for (int j = 0; j < 4; j++) {
                    a[i + 2 * j] = z_lo32(b[i + j], b[i + 4 + j]);
                    a[i + 2 * j + 1] = z_hi32(b[i + j], b[i + 4 + j]);
                }
            for (int i = 0; i < 8; i++) {
                z_store(to + turned_at(d / 16, 2 * i, r, 1), z_lo64(a[i], a[8 + i]));
                z_store(to + turned_at(d / 16, 2 * i + 1, r, 1), z_hi64(a[i], a[8 + i]));
            }
        }
    }
}

#endif
