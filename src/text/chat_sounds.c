/* chat_sounds.c - what a Tekken file says about audio. SPDX-License-Identifier: Apache-2.0 */
#include "base/util.h"
#include "text/chat_internal.h"
#include "text/internal.h"
#include "text/json_pull.h"

#include <math.h>
#include <string.h>

/* Values that are missing or null stay NAN. */
typedef struct section {
    double rate, frame_rate, chunk_s, delay_ms, ahead_ms, back_ms, left_pads, hop, window, bins;
    bool streaming;
} section;

static void number(gal__json *j, double *to) {
    const char *s;
    size_t n;
    bool whole;
    char copy[64] = { 0 };
    if (gal__json_null(j) || !gal__json_number(j, &s, &n, &whole)) return;
    if (n < sizeof copy) memcpy(copy, s, n);
    if (!gal_parse_f64(copy, to)) (void)gal__json_fail(j, "audio: expected a number, found %.20s", s);
}

static bool is(const char *s, size_t n, const char *word) { return gal__is((gal__string){ s, n }, word); }

static void read_section(gal__json *j, section *s) {
    const struct {
        const char *key;
        double *to;
    } NUMBERS[] = {
        { "sampling_rate", &s->rate },
        { "frame_rate", &s->frame_rate },
        { "chunk_length_s", &s->chunk_s },
        { "transcription_delay_ms", &s->delay_ms },
        { "streaming_look_ahead_ms", &s->ahead_ms },
        { "streaming_look_back_ms", &s->back_ms },
        { "streaming_n_left_pad_tokens", &s->left_pads },
        { "hop_length", &s->hop },
        { "window_size", &s->window },
        { "num_mel_bins", &s->bins },
    };
    const char *key, *text;
    size_t n, i;
    bool first = true;
    if (!gal__json_enter(j, '{')) return;
    while (gal__json_member(j, &first, &key, &n)) {
        for (i = 0; i < GAL_LEN(NUMBERS) && !is(key, n, NUMBERS[i].key);) i++;
        if (i < GAL_LEN(NUMBERS)) {
            number(j, NUMBERS[i].to);
        } else if (is(key, n, "audio_encoding_config")) {
            read_section(j, s); /* its keys are others; the reader's depth is bounded */
        } else if (is(key, n, "transcription_format") && !gal__json_null(j)) {
            if (gal__json_string(j, &text, &n)) s->streaming = is(text, n, "streaming");
        } else {
            gal__json_skip(j);
        }
    }
}

static bool whole(double x, double most) { return x >= 1 && x <= most && x == floor(x); }

/* a // b as the reference's language has it for numbers with a point. */
static double whole_quotient(double a, double b) {
    const double q = (a - fmod(a, b)) / b;
    return q - floor(q) > 0.5 ? floor(q) + 1 : floor(q);
}

/* The words of what is wrong; NULL: nothing. */
static const char *derive(gal__sounds *out, const section *s) {
    const double most = INT32_MAX;
    if (!whole(s->rate, most)) return "sampling_rate: expected a whole number of samples";
    if (!(s->frame_rate > 0 && s->frame_rate <= s->rate)) return "frame_rate: expected more than 0, to sampling_rate";
    if (!whole(s->hop, most) || !whole(s->window, most) || !whole(s->bins, most))
        return "audio_encoding_config: expected whole hop_length, window_size and num_mel_bins";
    *out = (gal__sounds){
        .rate = (int32_t)s->rate, .window = (int64_t)s->window, .hop = (int64_t)s->hop, .pads = -1
    };
    out->hops = (int64_t)(whole_quotient(s->rate, s->frame_rate) / s->hop);
    if (out->hops < 1) return "a token is less than a hop_length";
    if (!isnan(s->chunk_s)) {
        if (!(s->chunk_s > 0 && s->chunk_s * s->rate >= 1 && s->chunk_s * s->rate < 1e12))
            return "chunk_length_s: expected seconds that are a sample or more";
        out->chunk = (int64_t)(s->chunk_s * s->rate);
    }
    const bool none = isnan(s->delay_ms) && isnan(s->ahead_ms) && isnan(s->back_ms) && isnan(s->left_pads);
    if (!s->streaming) return none ? NULL : "settings for streaming, and transcription_format is not streaming";
    if (isnan(s->ahead_ms) || isnan(s->back_ms) || out->chunk)
        return "streaming: expected streaming_look_ahead_ms and streaming_look_back_ms, and no chunk_length_s";
    if (!(s->delay_ms > 0 && s->delay_ms <= 1e6 && fmod(s->delay_ms, 1000.0 / s->frame_rate) == 0))
        return "transcription_delay_ms: expected a multiple of a frame";
    if (!(s->left_pads == 0 || whole(s->left_pads, 1e6)))
        return "streaming_n_left_pad_tokens: expected a whole number up to 1000000";
    const int64_t hops = (int64_t)(s->delay_ms / 1000.0 * s->rate) / out->hop;
    out->pads = (int64_t)s->left_pads + hops / out->hops + (hops % out->hops != 0);
    return NULL;
}

void gal__sounds_read(gal__json *j, gal__sounds *s) {
    const double no = (double)NAN;
    section in = { no, no, no, no, no, no, no, no, no, no, false };
    if (gal__json_null(j)) return;
    read_section(j, &in);
    if (j->err) return;
    const char *why = derive(s, &in);
    if (why) (void)gal__json_fail(j, "audio: %s", why);
}
