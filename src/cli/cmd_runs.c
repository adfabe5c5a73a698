/* cmd_runs.c - `galerne runs`: what was trained here: a list, one run, its loss curve. Reads run directories only.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/mem.h"
#include "cli/commands.h"
#include "cli/screen.h"
#include "train/metrics.h"
#include "train/plot.h"
#include "train/runs.h"

#include <string.h>
#include <time.h>

typedef struct summary {
    char state[32], parameters[32], steps[32], started[32], cpu[32];
    gal_metric_step last; /* step 0: none */
    gal_metric_eval best, newest;
    bool has_eval;
    size_t n_evals;
    gal_metric_eval *evals; /* owned */
} summary;

static gal_err summarise(summary *s, const char *run, gal_diag *diag) {
    gal_metrics *m = NULL;
    gal_metric_step *steps = NULL;
    size_t n = 0;
    *s = (summary){ 0 };
    gal_err err = gal_run_metrics(&m, run, diag);
    if (!err) err = gal_metrics_steps(m, &steps, &n, diag);
    if (!err) err = gal_metrics_evals(m, &s->evals, &s->n_evals, diag);
    if (!err) {
        gal_metrics_get_fact(m, "parameters", s->parameters, sizeof s->parameters);
        gal_metrics_get_fact(m, "steps", s->steps, sizeof s->steps);
        gal_metrics_get_fact(m, "started_unix_time_s", s->started, sizeof s->started);
        gal_metrics_get_fact(m, "cpu", s->cpu, sizeof s->cpu);
        if (n) s->last = steps[n - 1];
        s->has_eval = s->n_evals > 0;
        if (s->has_eval) {
            s->newest = s->evals[s->n_evals - 1];
            s->best = *gal_metrics_best(s->evals, s->n_evals, NULL);
        }
        err = gal_run_state(m, run, s->state, sizeof s->state, diag);
        if (err) gal_free(s->evals);
    }
    gal_free(steps);
    gal_metrics_close(m);
    return err;
}

static void json_of(gal_buf *b, const char *run, const summary *s) {
    gal_buf_puts(b, "{\"run\": ");
    gal_buf_json(b, run, strlen(run));
    gal_buf_puts(b, ", \"state\": ");
    gal_buf_json(b, s->state, strlen(s->state));
    gal_buf_printf(b, ", \"step\": %lld, \"steps\": %s, \"parameters\": %s, \"tokens\": %lld, \"loss_nats\": %.17g",
                   (long long)s->last.step, s->steps[0] ? s->steps : "null",
                   s->parameters[0] ? s->parameters : "null", (long long)s->last.tokens, s->last.loss);
    if (s->has_eval)
        gal_buf_printf(b, ", \"best_step\": %lld, \"best_nats\": %.17g, \"best_bits_per_byte\": %.17g",
                       (long long)s->best.step, s->best.nats, s->best.bits_per_byte);
    gal_buf_puts(b, "}");
}

static bool has_metrics(const char *run) {
    gal_buf path = { 0 };
    const char *file = gal_path_join(&path, run, "metrics.sqlite");
    const bool there = file && gal_is_file(file);
    gal_buf_free(&path);
    return there;
}

/* A run whose numbers cannot be read, which is no reason to hide it. */
static void list_unread(gal_cli *cli, gal_buf *b, const char *run, const char *name, const gal_diag *why) {
    const char *state = why->err == GAL_EINPUT ? "damaged" : why->err == GAL_EBUSY ? "busy" : "unread";
    if (!cli->json) {
        printf("%-28s %-9s %8s/%-8s %10s %10s %9s\n", name, state, "-", "-", "-", "-", "-");
        if (!cli->quiet) gal_cli_complain(NULL, why->text);
        return;
    }
    gal_buf_puts(b, "{\"run\": ");
    gal_buf_json(b, run, strlen(run));
    gal_buf_printf(b, ", \"state\": \"%s\", \"error\": ", state);
    gal_buf_json(b, why->text, strlen(why->text));
    gal_buf_puts(b, "}\n");
}

static gal_err print_json(gal_buf *b, gal_diag *diag) {
    gal_err err = b->oom ? gal_fail(diag, GAL_ENOMEM, "no memory for the report") : GAL_OK;
    if (!err) (void)fwrite(b->data, 1, b->len, stdout);
    gal_buf_free(b);
    return err;
}

static void print_line(const char *name, const summary *s) {
    printf("%-28s %-9s %8lld/%-8s %10.4f ", name, s->state[0] ? s->state : "unborn", (long long)s->last.step,
           s->steps[0] ? s->steps : "?", s->last.loss);
    if (s->has_eval)
        printf("%10.4f %9.4f\n", s->best.nats, s->best.bits_per_byte);
    else
        printf("%10s %9s\n", "-", "-");
}

/* Nothing is said of a folder that is none. */
static gal_err list_one(gal_cli *cli, gal_buf *b, const char *run, const char *name, size_t *found) {
    summary s;
    gal_diag why = { 0 };
    gal_err err = summarise(&s, run, &why);
    if (err == GAL_ENOMEM) return gal_fail(&cli->diag, err, "%s", why.text);
    if (err && !has_metrics(run)) return GAL_OK;
    if (!*found && !cli->json)
        printf("%-28s %-9s %17s %10s %10s %9s\n", "run", "state", "step/steps   ", "loss", "best valid", "bits/byte");
    if (err) {
        list_unread(cli, b, run, name, &why);
    } else if (cli->json) {
        json_of(b, run, &s);
        gal_buf_putc(b, '\n');
    } else {
        print_line(name, &s);
    }
    ++*found;
    if (!err) gal_free(s.evals);
    return GAL_OK;
}

static gal_err list(gal_cli *cli, const char *dir) {
    char **names = NULL;
    size_t n = 0, found = 0;
    if (!gal_is_dir(dir)) return gal_fail(&cli->diag, GAL_EINPUT, "%s: no folder of runs here", dir);
    gal_err err = gal_list_dir(dir, &names, &n, &cli->diag);
    gal_buf path = { 0 }, b = { 0 };
    for (size_t i = 0; !err && i < n; i++)
        err = gal_path_join(&path, dir, names[i]) ? list_one(cli, &b, path.data, names[i], &found)
                                                  : gal_fail(&cli->diag, GAL_ENOMEM, "no memory");
    if (!err && !found && !cli->json && !cli->quiet) fprintf(stderr, "%s: no runs\n", dir);
    gal_free_names(names, n);
    gal_buf_free(&path);
    if (!err && b.len) return print_json(&b, &cli->diag);
    gal_buf_free(&b);
    return err;
}

static gal_err show(gal_cli *cli, const char *run) {
    summary s;
    gal_err err = summarise(&s, run, &cli->diag);
    if (err) return err;
    if (cli->json) {
        gal_buf b = { 0 };
        json_of(&b, run, &s);
        gal_buf_putc(&b, '\n');
        err = print_json(&b, &cli->diag);
    } else {
        printf("run         %s (%s)\n", run, s.state[0] ? s.state : "no step yet");
        printf("parameters  %s, kernels %s\n", s.parameters, s.cpu);
        printf("step        %lld of %s, %lld tokens\n", (long long)s.last.step, s.steps, (long long)s.last.tokens);
        printf("loss        %.4f nats/token, gradient norm %.3f, lr %.3g, %.0f tokens/s\n", s.last.loss,
               s.last.grad_norm, s.last.lr, s.last.tokens_per_s);
        for (size_t i = 0; i < s.n_evals; i++)
            printf("valid       step %-8lld %.4f nats/token  %.4f bits/byte%s\n", (long long)s.evals[i].step,
                   s.evals[i].nats, s.evals[i].bits_per_byte, s.evals[i].step == s.best.step ? "  best" : "");
    }
    gal_free(s.evals);
    return err;
}

static gal_err plot(gal_cli *cli, const char *run) {
    gal_metrics *m = NULL;
    gal_err err = gal_run_metrics(&m, run, &cli->diag);
    gal_metrics_close(m);
    if (!err) err = gal_plot_run(run, &cli->diag);
    if (!err) printf("%s/plots/loss.png\n%s/plots/loss.svg\n", run, run);
    return err;
}

static gal_err check_serve_options(gal_cli *cli) {
    static const char *const NAMES[] = { "host", "port" };
    for (size_t i = 0; i < GAL_LEN(NAMES); i++)
        if (gal_cli_given(cli, NAMES[i])) return gal_cli_usage(cli, "--%s goes with serve", NAMES[i]);
    return GAL_OK;
}

static gal_err run(gal_cli *cli) {
    const char *what = cli->n_operands ? cli->operands[0] : "list";
    const char *where = cli->n_operands > 1 ? cli->operands[1] : NULL;
    bool is_list = strcmp(what, "list") == 0, is_show = strcmp(what, "show") == 0,
         is_plot = strcmp(what, "plot") == 0;
    if (strcmp(what, "serve") == 0) return gal_cli_runs_serve(cli);
    if (!is_list && !is_show && !is_plot)
        return gal_cli_usage(cli, "expected list, show, plot or serve, found %s", what);
    gal_err err = check_serve_options(cli);
    if (err) return err;
    if (cli->n_operands > 2)
        return gal_cli_usage(cli, "expected nothing after runs %s %s, found %s", what, where, cli->operands[2]);
    if (is_list) return list(cli, where ? where : "runs");
    if (!where) return gal_cli_usage(cli, "expected a run: galerne runs %s RUN", what);
    return is_show ? show(cli, where) : plot(cli, where);
}

static const gal_option OPTIONS[] = {
    { .name = "host",
      .kind = GAL_V_STRING,
      .value = "ADDRESS",
      .fallback = "127.0.0.1",
      .help = "serve: the address to listen to; 0.0.0.0 lets everybody in who can reach this machine" },
    { .name = "port",
      .kind = GAL_V_INT,
      .value = "N",
      .fallback = "8081",
      .min = 0,
      .max = 65535,
      .help = "serve: the port to listen to; 0: any free one" },
};

const gal_command gal_cmd_runs = {
    .name = "runs",
    .summary = "list, show, plot and watch training runs",
    .operands = "[list [DIR] | show RUN | plot RUN | serve [DIR...]]",
    .min_operands = 0,
    .max_operands = -1,
    .text =
        "list: one line for each run directory in DIR (runs). show: a run's numbers. plot: draws its losses anew and "
        "prints where the pictures are. A run is running, finished, stopped (by Ctrl-C) or broken: killed or "
        "failed. In the list it is damaged if its metrics.sqlite cannot be read.\n\n"
        "serve: a page of curves for a browser, of the runs in each DIR (runs), which may be a run itself. Prints "
        "its "
        "address; what is trained meanwhile appears by itself. Runs compared, smoothed, on logarithmic axes, zoomed, "
        "saved as pictures or tables. It answers this machine alone unless --host says otherwise, reads run "
        "directories and changes nothing, and ends with Ctrl-C (code 0).\n\n"
        "Each run's metrics.sqlite has tables facts, steps and evaluations for other questions.",
    .examples = "galerne runs\ngalerne runs show runs/demo\ngalerne runs plot runs/demo\ngalerne runs serve --port 0",
    .options = OPTIONS,
    .n_options = GAL_LEN(OPTIONS),
    .run = run,
};
