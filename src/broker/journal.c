/* SPDX-License-Identifier: MIT */
/*
 * Who loaded and attached what, under which class, and what was refused: one line of JSON each, in a file that only grows
 * (/var/log/tenon/journal for root, $XDG_STATE_HOME/tenon/journal for others, $TENON_JOURNAL for either). What cannot be
 * written there holds up nobody.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <time.h>

#include "broker/broker_int.h"

#define LINE_MAX_BYTES 8192u

int tn_journal_path(u32 uid, char *ret_path, size_t cap)
{
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME"), *named = getenv("TENON_JOURNAL");
    int n;

    if (named && *named)
        n = snprintf(ret_path, cap, "%s", named);
    else if (!uid)
        n = snprintf(ret_path, cap, "/var/log/tenon/journal");
    else if (state && *state == '/')
        n = snprintf(ret_path, cap, "%s/tenon/journal", state);
    else if (home && *home == '/')
        n = snprintf(ret_path, cap, "%s/.local/state/tenon/journal", home);
    else
        return -ENOENT;
    return (size_t)n < cap ? 0 : -ENAMETOOLONG;
}

static int open_journal(const struct tn_broker *broker)
{
    char path[PATH_MAX], *slash;
    int r = tn_journal_path(broker->uid, path, sizeof(path));

    if (r)
        return r;
    for (slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(path, 0700) && errno != EEXIST)
            return -errno;
        *slash = '/';
    }
    return open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
}

/* A text inside quotes of JSON. */
static void quote(FILE *f, const char *s)
{
    fputc('"', f);
    for (; *s; s++)
        if (*s == '"' || *s == '\\')
            fprintf(f, "\\%c", *s);
        else if ((u8)*s < 0x20)
            fprintf(f, "\\u%04x", (u8)*s);
        else
            fputc(*s, f);
    fputc('"', f);
}

void tn_policy_journal(struct tn_broker *broker, u32 uid, s32 pid, const char *deed, const char *prog,
                       const char *klass, const char *host, const struct tn_error *refused)
{
    const struct {
        const char *key, *value;
    } texts[] = {{"deed", deed}, {"program", prog}, {"class", klass}, {"host", host}};
    _close_ int fd = open_journal(broker);
    char line[LINE_MAX_BYTES];
    long len;
    struct timespec now;
    struct tm utc;
    FILE *f;

    if (fd < 0)
        return;
    f = fmemopen(line, sizeof(line), "w"); /* what does not fit is cut, and the line ends all the same */
    if (!f)
        return;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    fprintf(f, "{\"time\":\"%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ\",\"uid\":%u,\"pid\":%d", utc.tm_year + 1900,
            utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec, now.tv_nsec / 1000000, uid,
            pid);
    for (u32 k = 0; k < TN_ARRAY_SIZE(texts); k++)
        if (texts[k].value && *texts[k].value) {
            fprintf(f, ",\"%s\":", texts[k].key);
            quote(f, texts[k].value);
        }
    if (refused && refused->reason[0]) {
        fprintf(f, ",\"refused\":");
        quote(f, refused->reason);
        fprintf(f, ",\"why\":");
        quote(f, refused->message);
    }
    fputs("}\n", f);
    fflush(f);
    len = ftell(f);
    fclose(f);
    if (len <= 0)
        return;
    len = TN_MIN(len, (long)sizeof(line) - 1);
    line[len - 1] = '\n';
    (void)!write(fd, line, (size_t)len); /* one write: lines of several brokers do not mix */
}
