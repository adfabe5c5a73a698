/* chat_audio.c - how long audio is, from the headers of its file: that alone says how many tokens stand for it. WAV
 * (RIFF, RIFX, RF64) with samples of whole bytes, FLAC, AU; of one channel. Files are read as libsndfile reads them,
 * which the reference uses: what headers say wrongly is put right by the bytes that are there.
 * SPDX-License-Identifier: Apache-2.0 */
#include "text/chat_internal.h"

#include <math.h>
#include <string.h>

typedef struct sound {
    const uint8_t *p;
    size_t n;
    const char *why; /* NULL: it can be read */
    bool big;        /* the most significant byte first */
    int32_t rate;
    int channels;
    int64_t width; /* bytes of a sample */
    int64_t samples;
} sound;

static uint64_t number(const sound *s, size_t at, size_t bytes) {
    uint64_t v = 0;
    for (size_t i = 0; i < bytes; i++) v = v << 8 | s->p[at + (s->big ? i : bytes - 1 - i)];
    return v;
}

static bool tag(const sound *s, size_t at, const char *name) {
    return s->n >= 4 && at <= s->n - 4 && memcmp(s->p + at, name, 4) == 0;
}

static bool set_rate(sound *s, uint64_t rate) {
    s->rate = rate <= INT32_MAX ? (int32_t)rate : 0;
    return s->rate > 0;
}

/* ---- WAV ----------------------------------------------------------------------------------------------------------
 */

enum { PCM = 1, FLOAT = 3, ALAW = 6, MULAW = 7, EXTENSIBLE = 0xfffe };

/* What EXTENSIBLE names by sixteen bytes, of which the first two are the code of before. */
static unsigned extended(const sound *s, size_t at, size_t size) {
    static const uint8_t REST[] = { 0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71 };
    if (size < 40 || s->big || memcmp(s->p + at + 26, REST, sizeof REST) != 0) return 0;
    return (unsigned)number(s, at + 24, 2);
}

static void format(sound *s, size_t at, size_t size) {
    if (size < 16 || s->n - at < size) {
        s->why = "a WAV file with a short fmt chunk";
        return;
    }
    unsigned code = (unsigned)number(s, at, 2);
    const bool old = code != EXTENSIBLE;
    const int64_t bits = (int64_t)number(s, at + 14, 2), block = (int64_t)number(s, at + 12, 2);
    s->channels = (int)number(s, at + 2, 2);
    if (!old) code = extended(s, at, size);
    s->width = (bits + 7) / 8;
    if (code == ALAW || code == MULAW) s->width = 1;
    if (!set_rate(s, number(s, at + 4, 4)))
        s->why = "a WAV file without a rate";
    else if (code == PCM && old && bits == 24 && block == 4 * (int64_t)s->channels)
        s->why = "a WAV file of 24 bits in 32, which may mean several things";
    else if (code == PCM     ? s->width < 1 || s->width > 4
             : code == FLOAT ? s->width != 4 && s->width != 8
                             : code != ALAW && code != MULAW)
        s->why = "a WAV file whose encoding is neither PCM, float, A-law nor mu-law";
}

typedef struct wav {
    size_t at;      /* of the next chunk */
    bool rf64, fmt; /* fmt: it came */
    uint64_t riff;
    uint64_t long_data; /* what ds64 says; UINT64_MAX: nothing */
    size_t data, end;   /* where the last data chunk begins, and where the last that ends before the file does */
} wav;

static size_t on(const sound *s, size_t at, uint64_t by) { return by < s->n - at ? at + (size_t)by : s->n; }

static void data(sound *s, wav *w, uint64_t size) {
    if (!w->fmt) {
        s->why = "a WAV file with data before fmt";
        return;
    }
    const size_t left = s->n - w->at;
    if (size == 0 && w->riff == 8 && s->n > 44) size = left; /* was never closed */
    if (w->rf64 && w->long_data != UINT64_MAX) size = w->long_data;
    w->data = w->at;
    if (size < left) w->end = w->at + (size_t)size;
    w->at = on(s, w->at, w->rf64 ? size : size + (size & 1));
}

/* How much of it to pass over. */
static uint64_t ds64(sound *s, wav *w, uint64_t size) {
    if (s->n - w->at < 28 || number(s, w->at + 24, 4) > s->n) {
        s->why = "an RF64 file with a damaged ds64 chunk";
        return 0;
    }
    w->long_data = number(s, w->at + 8, 8);
    const uint64_t table = 28 + number(s, w->at + 24, 4);
    return size >= table + 4 && !tag(s, on(s, w->at, table), "fmt ") ? size : table;
}

/* A chunk whose header was read; false: nothing more is read. */
static bool one(sound *s, wav *w, const char *name, uint64_t size) {
    uint64_t skip = size;
    if (memcmp(name, "data", 4) == 0) {
        data(s, w, size);
        return !s->why;
    }
    if (memcmp(name, "fmt ", 4) == 0) {
        if (!w->fmt || w->rf64)
            format(s, w->at, (size_t)size);
        else
            skip = 0; /* a second one is not read, and not skipped either */
        w->fmt = true;
    } else if (memcmp(name, "fact", 4) == 0) {
        skip = GAL_MAX(size, 4u);
    } else if (memcmp(name, "PEAK", 4) == 0 && (!w->fmt || size != 8 + 8 * (uint64_t)s->channels)) {
        s->why = "a WAV file with a PEAK chunk of another size";
    } else if (memcmp(name, "ds64", 4) == 0 && w->rf64) {
        skip = ds64(s, w, size);
    } else {
        if (size >= 0xffff0000) return false;
        bool spelled = true;
        for (int i = 0; i < 4; i++) spelled = spelled && name[i] >= ' ' && name[i] <= '~';
        if (!spelled && w->at % 4 == 0) return false;
        if (!spelled) {
            skip = 0;
            w->at -= 3; /* it looks for a name, byte by byte */
        }
    }
    if (size >= s->n) return false;
    w->at = on(s, w->at, w->rf64 ? skip : skip + (size & 1));
    return !s->why;
}

static void riff(sound *s) {
    wav w = { .at = 12, .rf64 = tag(s, 0, "RF64"), .long_data = UINT64_MAX };
    s->big = tag(s, 0, "RIFX");
    w.riff = GAL_MIN(number(s, 4, 4), (uint64_t)s->n - 8);
    while (s->n - w.at > 4) {
        uint8_t head[8] = { 0 }; /* what the file ends before is nought */
        const sound h = { .p = head, .n = sizeof head, .big = s->big };
        memcpy(head, s->p + w.at, GAL_MIN(s->n - w.at, sizeof head));
        if (memcmp(head, "\0\0\0\0", 4) == 0) break;
        w.at = on(s, w.at, sizeof head);
        if (!one(s, &w, (const char *)head, number(&h, 4, 4))) break;
    }
    if (s->why) return;
    if (!w.data || (w.rf64 && w.long_data == UINT64_MAX)) {
        s->why = w.data ? "an RF64 file that does not say how long it is" : "a WAV file without data";
        return;
    }
    if (!w.end) w.end = s->n;
    if (w.data == s->n) w.end = w.data;
    if (w.end < w.data)
        s->why = "a WAV file whose last data chunk goes on after it";
    else if (tag(s, w.data, "wvpk") || tag(s, w.data, "OggS"))
        s->why = "a WAV file with WavPack or Ogg in it";
    else if (s->channels > 0)
        s->samples = (int64_t)(w.end - w.data) / (s->width * s->channels);
}

/* ---- others -------------------------------------------------------------------------------------------------------
 */

static void au(sound *s) {
    s->big = tag(s, 0, ".snd");
    if (s->n < 24) {
        s->why = "an AU file without its header";
        return;
    }
    const int64_t at = (int32_t)number(s, 4, 4), size = (int32_t)number(s, 8, 4), n = (int64_t)s->n;
    const uint64_t code = number(s, 12, 4);
    static const uint8_t WIDTH[] = { [1] = 1, [2] = 1, [3] = 2, [4] = 3, [5] = 4, [6] = 4, [7] = 8, [27] = 1 };
    s->width = code < sizeof WIDTH ? WIDTH[code] : 0;
    s->channels = (int)GAL_MIN(number(s, 20, 4), (uint64_t)1024);
    if (!s->width || at < 24 || size < -1 || !set_rate(s, number(s, 16, 4)))
        s->why = "an AU file with another header";
    else if (s->channels > 0)
        s->samples = GAL_MAX(size < 0 || size > n - at ? n - at : size, 0) / (s->width * s->channels);
}

static void flac(sound *s) {
    s->samples = gal__flac_samples(s->p, s->n, &s->rate, &s->channels);
    if (s->samples < 0) s->why = "a FLAC file that is damaged, cut short or does not say how long it is";
}

static void read_sound(sound *s) {
    const bool wave = tag(s, 8, "WAVE") && (tag(s, 0, "RIFF") || tag(s, 0, "RIFX") || tag(s, 0, "RF64"));
    if (wave)
        riff(s);
    else if (tag(s, 0, "fLaC"))
        flac(s);
    else if (tag(s, 0, ".snd") || tag(s, 0, "dns."))
        au(s);
    else if (tag(s, 0, "OggS"))
        s->why = "an Ogg file";
    else if (s->n >= 3 && (memcmp(s->p, "ID3", 3) == 0 || (s->p[0] == 0xff && s->p[1] >= 0xe0)))
        s->why = "an MP3 file";
    else if (tag(s, 0, "FORM"))
        s->why = "an AIFF file";
    else
        s->why = "a file of another kind";
}

gal_err gal__chat_audio(const gal__chunk *c, int32_t rate, gal__pool *pool, int64_t *samples, gal_diag *diag) {
    sound s = { 0 };
    gal_err err = gal__chat_data(c, true, pool, &s.p, &s.n, diag);
    if (err) return err;
    read_sound(&s);
    if (s.why)
        return gal_fail(diag, GAL_EINPUT, "%s: audio: expected WAV, FLAC or AU, whole and not packed; found %s",
                        c->where, s.why);
    if (s.channels != 1)
        return gal_fail(diag, GAL_EINPUT, "%s: audio: expected one channel, found %d", c->where, s.channels);
    /* what soxr gives at the end of a stream */
    *samples = s.rate == rate ? s.samples : (int64_t)((double)s.samples / ((double)s.rate / rate) + 0.5);
    return GAL_OK;
}
