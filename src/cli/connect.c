/* SPDX-License-Identifier: MIT */
/*
 * The way to the broker, and libbpf's messages, kept until somebody wants them.
 */
#include "cli/connect.h"

#include <bpf/libbpf.h>
#include <errno.h>
#include <stdarg.h>

#include "broker/broker.h"
#include "door/preload/door.h"

static char said[16384];
static size_t said_len;
static bool said_aloud;

int tn_connect(bool start, struct tn_error *err)
{
    if (!start) {
        int fd = tn_broker_connect_running(err);

        if (fd < 0)
            return fd;
        close(fd); /* somebody answers: the door finds the same one */
    }
    return tn_door_open(err);
}

int tn_ctl(u32 ctl, const void *request, size_t request_len, void *ret_reply, size_t reply_len)
{
    _free_ void *reply = reply_len ? malloc(reply_len) : NULL;
    size_t len = reply_len;
    int r;

    if (reply_len && !reply)
        return -ENOMEM;
    r = tn_door_ctl(ctl, request, request_len, reply, &len);
    if (r < 0)
        return r;
    if (len != reply_len)
        return -EPROTO;
    if (reply_len)
        memcpy(ret_reply, reply, reply_len);
    return r;
}

/* Another process wrote these: every string ends. */
static void end_refusal(struct tn_refusal *refusal)
{
#define END(field) refusal->field[sizeof(refusal->field) - 1] = 0
    END(reason);
    END(message);
    END(file);
    END(text);
    END(state);
    END(path);
#undef END
}

static void end_error(struct tn_error *err)
{
    err->reason[sizeof(err->reason) - 1] = 0;
    err->message[sizeof(err->message) - 1] = 0;
}

bool tn_ctl_why(struct tn_ctl_error *ret_why)
{
    struct tn_ctl_error why;

    if (tn_ctl(TN_CTL_LAST_ERROR, NULL, 0, &why, sizeof(why)) < 0)
        return false;
    end_error(&why.why);
    end_refusal(&why.refusal);
    if (!why.has_refusal && !why.why.message[0])
        return false;
    *ret_why = why;
    return true;
}

bool tn_ctl_verdict(struct tn_ctl_verdict *ret_verdict)
{
    struct tn_ctl_verdict verdict;

    if (tn_ctl(TN_CTL_VERDICT, NULL, 0, &verdict, sizeof(verdict)) < 0 || !verdict.judged)
        return false;
    end_error(&verdict.missing);
    end_refusal(&verdict.refusal);
    verdict.nmaps = TN_MIN(verdict.nmaps, (u32)TN_ARRAY_SIZE(verdict.map));
    for (u32 i = 0; i < verdict.nmaps; i++)
        verdict.map[i][sizeof(verdict.map[i]) - 1] = 0;
    *ret_verdict = verdict;
    return true;
}

int tn_ctl_link(u32 id, struct tn_ctl_link *ret_link)
{
    struct tn_ctl_link link;
    u32 before = id - 1;
    int r;

    if (id == 0)
        return -ENOENT;
    r = tn_ctl(TN_CTL_LINK_NEXT, &before, sizeof(before), &link, sizeof(link));
    if (r < 0)
        return r;
    if (link.id != id)
        return -ENOENT;
    *ret_link = link;
    return 0;
}

static int listen_to(enum libbpf_print_level level, const char *fmt, va_list args)
{
    va_list copy;
    int n;

    if (said_aloud) {
        va_copy(copy, args);
        vfprintf(stderr, fmt, copy);
        va_end(copy);
    }
    if (level != LIBBPF_WARN)
        return 0;
    n = vsnprintf(said + said_len, sizeof(said) - said_len, fmt, args);
    if (n > 0)
        said_len = TN_MIN(said_len + (size_t)n, sizeof(said) - 1);
    return n;
}

void tn_libbpf_listen(bool aloud)
{
    said_aloud = aloud;
    libbpf_set_print(listen_to);
}

void tn_libbpf_forget(void)
{
    said_len = 0;
    said[0] = 0;
}

const char *tn_libbpf_said(void)
{
    return said;
}
