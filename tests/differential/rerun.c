/* SPDX-License-Identifier: MIT */
/*
 * What do programs return? Recordings that tell what Linux's test run returned (the selftests' `__retval`)
 * are loaded into a broker of their own, through the door that is linked in here, and run on both engines.
 *
 *     rerun FOLDER|FILE…
 *
 * One line a disagreement and the sums. A program that cannot be had here (a helper or a map that is not
 * built yet) is counted apart: verdict and availability are two answers. Status 1 when a result differs.
 */
#include <dirent.h>
#include <errno.h>

#include "broker/ctl.h"
#include "door/preload/door.h"
#include "tests/differential/oracle.h"

enum outcome { SAME, DIFFERENT, NOT_LOADED, NOT_RUN, OUTCOMES };
static const char *const outcome_name[OUTCOMES] = {"same result on both engines", "another result",
                                                   "not loaded here (see replay, or not available)",
                                                   "loaded here and not run"};
static u32 sums[OUTCOMES];

static bool points_somewhere(const struct rec *rec)
{
    for (u32 k = 0; k < rec->nexpects; k++)
        if (!strcmp(rec->expect[k], "test_retval=POINTER_VALUE"))
            return true;
    return false;
}

static enum outcome both_engines(const struct rec *rec, int fd)
{
    const struct rec_run *linux_run = rec->run[0];
    enum outcome outcome = SAME;

    for (u32 interpret = 0; interpret < 2; interpret++) {
        struct tn_ctl_options options = {.wait_ms = 1000, .interpret = interpret};
        u32 retval = 0;
        int e;

        tn_door_ctl(TN_CTL_OPTIONS, &options, sizeof(options), NULL, NULL);
        e = oracle_run(fd, linux_run->data_size, &retval);
        if (e == linux_run->error && (e || retval == linux_run->retval || points_somewhere(rec)))
            continue;
        outcome = e && !linux_run->error ? NOT_RUN : DIFFERENT;
        printf("%s/%s: Linux %d/%u, %s %d/%u\n", rec->object, rec->name, linux_run->error, linux_run->retval,
               interpret ? "interpreted" : "compiled", e, retval);
    }
    return outcome;
}

static void one(const char *path)
{
    struct rec *rec = calloc(1, sizeof(*rec));
    struct oracle *oracle = malloc(sizeof(*oracle));
    int fd = -ENOMEM;

    if (rec && oracle && !rec_read(path, rec, NULL) && rec->nruns && !rec->verdict->error) {
        fd = oracle_open(oracle, rec);
        if (!fd) {
            fd = oracle_load(oracle, rec->insns, rec->ninsns, false, 0, NULL, 0);
            if (fd >= 0) {
                sums[both_engines(rec, fd)]++;
                close(fd);
            }
            oracle_close(oracle);
        }
        if (fd < 0) {
            struct tn_ctl_error why = {0};
            size_t size = sizeof(why);

            tn_door_ctl(TN_CTL_LAST_ERROR, NULL, 0, &why, &size);
            printf("%s/%s: not loaded: %d: %s\n", rec->object, rec->name, fd,
                   *why.why.message ? why.why.message : why.refusal.message);
            sums[NOT_LOADED]++;
        }
    }
    if (rec)
        rec_clear(rec);
    free(rec);
    free(oracle);
}

static void collect(const char *path)
{
    struct dirent **entries;
    int n = scandir(path, &entries, NULL, alphasort);

    if (n < 0) {
        one(path);
        return;
    }
    for (int k = 0; k < n; k++) {
        char below[4096];

        snprintf(below, sizeof(below), "%s/%s", path, entries[k]->d_name);
        if (entries[k]->d_name[0] != '.')
            collect(below);
        free(entries[k]);
    }
    free(entries);
}

int main(int argc, char **argv)
{
    char folder[] = "/tmp/tenon-rerun-XXXXXX", socket[64];
    struct tn_error err = {0};

    if (argc < 2 || !mkdtemp(folder)) {
        fprintf(stderr, "usage: %s FOLDER|FILE…\n", argv[0]);
        return 2;
    }
    snprintf(socket, sizeof(socket), "%s/broker.sock", folder);
    setenv("TENON_SOCKET", socket, 1);
    setenv("TENON_EXE", TEST_BROKER, 1);
    setenv("TENON_LINGER_MS", "300", 1);
    if (tn_door_open(&err)) {
        fprintf(stderr, "%s: %s\n", err.reason, err.message);
        return 2;
    }
    for (int k = 1; k < argc; k++)
        collect(argv[k]);
    for (u32 k = 0; k < OUTCOMES; k++)
        printf("%6u %s\n", sums[k], outcome_name[k]);
    tn_door_ctl(TN_CTL_SHUTDOWN, NULL, 0, NULL, NULL);
    for (int k = 0; k < 100 && !access(socket, F_OK); k++)
        usleep(20000);
    snprintf(socket + strlen(socket), sizeof(socket) - strlen(socket), ".lock");
    unlink(socket);
    rmdir(folder);
    return sums[DIFFERENT] != 0;
}
