/* merged.c - of `galerne convert`: how far a model that adapters were merged into is from base and adapters, which
 * are added at run time. SPDX-License-Identifier: Apache-2.0 */
#include "cli/merged.h"

#include "base/mem.h"
#include "cli/eval.h"
#include "eval/compare.h"
#include "infer/lm.h"

static gal_err measure(gal_comparison *c, gal_cli *cli, const char *out, const gal_loras *loras,
                       const gal_cli_text *text) {
    const char *const paths[2] = { cli->operands[0], out };
    gal_model *m[2] = { NULL };
    gal_tokenizer *t[2] = { NULL };
    const gal_tokenizer *both = NULL;
    gal_buf dir[2] = { { 0 } };
    gal_dev *dev = NULL;
    gal_err err = GAL_OK;
    for (int i = 0; !err && i < 2; i++)
        err = gal_lm_load_as(&m[i], &t[i], NULL, &dir[i], paths[i], i ? GAL_LAYOUT_ANY : gal_cli_layout(cli),
                             &cli->diag);
    if (!err) err = gal_lm_adapt(m[0], loras->list, loras->n, &cli->diag);
    if (!err) err = gal_compare_tokenizer(&both, t[0], t[1], &cli->diag);
    if (!err && text->text.text && !both)
        err = gal_fail(&cli->diag, GAL_EINPUT, "%s: no tokenizer here; give --ids FILE instead of a text",
                       dir[0].data);
    if (!err) err = gal_dev_open(&dev, &cli->device, &cli->diag);
    const gal_lm_options lo = { .exact = 1 };
    for (int i = 0; !err && i < 2; i++) err = gal_lm_bring(m[i], dev, &lo, &cli->diag);
    /* Of weights alone: activations are not rounded. */
    const gal_eval_options o = { .compute = GAL_F32, .exact = true };
    const gal_model *const models[2] = { m[0], m[1] };
    if (!err) err = gal_compare(c, dev, models, both, &text->text, &o, 0, &cli->diag);
    for (int i = 0; i < 2; i++) {
        gal_tokenizer_free(t[i]);
        gal_model_free(m[i]);
        gal_buf_free(&dir[i]);
    }
    gal_dev_close(dev);
    return err;
}

gal_err gal_cli_merged(gal_merged *r, gal_cli *cli, const char *out, const gal_loras *loras) {
    gal_cli_text text = { 0 };
    gal_comparison *c = gal_alloc(sizeof *c);
    if (!c) return gal_fail(&cli->diag, GAL_ENOMEM, "no memory for a comparison");
    gal_err err = gal_cli_text_open(&text, cli, gal_cli_string(cli, "text"));
    if (!err) err = measure(c, cli, out, loras, &text);
    if (!err) *r = (gal_merged){ .kl = c->kl, .kl_99 = c->p99, .agree = c->agree, .tokens = c->walk.tokens };
    gal_cli_text_close(&text);
    gal_free(c);
    return err;
}
