/* SPDX-License-Identifier: MIT */
/* See recording.h. The reader looks at each byte once before anybody else does; the writer only appends. */
#include "tests/differential/recording.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

static const struct {
    const char *name;
    bool often;
} kinds[REC_KINDS] = {
#define P(name, often, what) [REC_##name] = {#name, often},
    REC_PARTS(P)
#undef P
};

u32 rec_hash(const void *data, size_t size)
{
    u32 h = 2166136261u; /* FNV-1a */

    for (size_t k = 0; k < size; k++)
        h = (h ^ ((const u8 *)data)[k]) * 16777619u;
    return h;
}

/* ------------------------------------------------------------------------------------------- reading */

static int bad(struct tn_error *err, u32 at, const char *what)
{
    return tn_fail(err, -EINVAL, "bad_recording", "not a recording: %s (byte %u)", what, at);
}

static bool text_ends(const u8 *data, u32 size)
{
    return size && !data[size - 1] && strlen((const char *)data) + 1 == size;
}

/* One part, sizes checked already. NULL or what is wrong. */
static const char *take(struct rec *r, u32 kind, const u8 *data, u32 size)
{
    const char **text = NULL;
    u64 map;

    switch (kind) {
    case REC_CORPUS:
        text = &r->corpus;
        break;
    case REC_OBJECT:
        text = &r->object;
        break;
    case REC_NAME:
        text = &r->name;
        break;
    case REC_MESSAGES:
        text = &r->messages;
        break;
    case REC_LOG:
        text = &r->log;
        break;
    case REC_EXPECT:
        if (r->nexpects == REC_MAX_OFTEN)
            return "too many expectations";
        text = &r->expect[r->nexpects++];
        break;
    case REC_PROGRAM:
        if (size != sizeof(*r->program))
            return "size of the program's part";
        r->program = (const struct rec_program *)data;
        return NULL;
    case REC_VERDICT:
        if (size != sizeof(*r->verdict))
            return "size of the verdict's part";
        r->verdict = (const struct rec_verdict *)data;
        return memchr(r->verdict->release, 0, sizeof(r->verdict->release)) ? NULL
                                                                           : "a release without an end";
    case REC_INSNS:
        if (size % sizeof(struct bpf_insn))
            return "half an instruction";
        r->insns = (const struct bpf_insn *)data;
        r->ninsns = size / (u32)sizeof(struct bpf_insn);
        return NULL;
    case REC_FUNC_INFO:
        r->func_info = (struct rec_bytes){data, size};
        return NULL;
    case REC_LINE_INFO:
        r->line_info = (struct rec_bytes){data, size};
        return NULL;
    case REC_BTF:
        if (r->nbtfs == REC_MAX_BTFS)
            return "too many BTFs";
        r->btf[r->nbtfs++] = (struct rec_bytes){data, size};
        return NULL;
    case REC_MAP:
        if (r->nmaps == REC_MAX_MAPS)
            return "too many maps";
        if (size != sizeof(**r->map))
            return "size of a map's part";
        r->map[r->nmaps++] = (const struct rec_map *)data;
        return memchr(r->map[r->nmaps - 1]->name, 0, 20) ? NULL : "a map's name without an end";
    case REC_CONTENTS:
        if (size < 8)
            return "contents of no map";
        memcpy(&map, data, 8);
        if (map >= r->nmaps)
            return "contents of a map that does not come before";
        r->contents[map] = (struct rec_bytes){data + 8, size - 8};
        return size - 8 >= r->map[map]->value_size ? NULL : "contents shorter than a value";
    case REC_RUN:
        if (r->nruns == REC_MAX_OFTEN)
            return "too many runs";
        if (size != sizeof(**r->run))
            return "size of a run's part";
        r->run[r->nruns++] = (const struct rec_run *)data;
        return NULL;
    }
    if (!text_ends(data, size))
        return "a text with no end, or with one inside";
    *text = (const char *)data;
    return NULL;
}

/* What parts say of each other. */
static const char *whole(const struct rec *r)
{
    if (!r->program || !r->verdict || !r->insns)
        return "no program, no instructions or no verdict in it";
    if (r->program->nmaps > r->nmaps)
        return "fewer maps than the program has";
    if (r->program->btf != -1 && (u32)r->program->btf >= r->nbtfs)
        return "the program's BTF is not there";
    if (!memchr(r->program->licence, 0, sizeof(r->program->licence)))
        return "a licence without an end";
    if (r->func_info.size &&
        (!r->program->func_info_rec_size || r->func_info.size % r->program->func_info_rec_size))
        return "function records of another size";
    if (r->line_info.size &&
        (!r->program->line_info_rec_size || r->line_info.size % r->program->line_info_rec_size))
        return "line records of another size";
    for (u32 k = 0; k < r->nmaps; k++) {
        const struct rec_map *m = r->map[k];

        if (m->btf != -1 && (u32)m->btf >= r->nbtfs)
            return "a map's BTF is not there";
        if (m->inner != -1 && ((u32)m->inner >= r->nmaps || (u32)m->inner <= k))
            return "an inner map that does not come after its outer one";
    }
    return NULL;
}

static int parse(struct rec *r, size_t size, struct tn_error *err)
{
    const struct rec_head *head = (const struct rec_head *)r->file;
    bool seen[REC_KINDS] = {false};
    const char *wrong;
    size_t at = sizeof(*head);

    if (size < sizeof(*head) || memcmp(head->magic, REC_MAGIC, 8) || head->version != REC_VERSION)
        return bad(err, 0, "its head");
    if (head->size != size)
        return bad(err, 0, "the size in its head is another one");
    while (at < size) {
        const struct rec_part *part = (const struct rec_part *)(r->file + at);

        if (size - at < sizeof(*part) || part->size > size - at - sizeof(*part))
            return bad(err, (u32)at, "a part that ends behind the file");
        if (part->kind == REC_NONE || part->kind >= REC_KINDS)
            return bad(err, (u32)at, "a part of unknown kind");
        if (seen[part->kind] && !kinds[part->kind].often)
            return bad(err, (u32)at, "a part twice");
        seen[part->kind] = true;
        wrong = take(r, part->kind, r->file + at + sizeof(*part), part->size);
        if (wrong)
            return bad(err, (u32)at, wrong);
        at += sizeof(*part) + TN_ROUND_UP((size_t)part->size, 8);
    }
    wrong = whole(r);
    return wrong ? bad(err, (u32)size, wrong) : 0;
}

/* Takes `file` over. */
static int parse_owned(u8 *file, size_t size, struct rec *ret, struct tn_error *err)
{
    struct rec *r = calloc(1, sizeof(*r));
    int e;

    if (!r) {
        free(file);
        return -ENOMEM;
    }
    r->file = file;
    r->corpus = r->object = r->name = r->messages = r->log = "";
    e = parse(r, size, err);
    if (e)
        free(file);
    else
        *ret = *r;
    free(r);
    return e;
}

int rec_parse(const void *data, size_t size, struct rec *ret, struct tn_error *err)
{
    u8 *copy;

    if (size > REC_MAX_FILE)
        return bad(err, 0, "it is too large");
    copy = calloc(1, size + 16);
    if (!copy)
        return -ENOMEM;
    memcpy(copy, data, size);
    return parse_owned(copy, size, ret, err);
}

int rec_slurp(const char *path, u8 **ret_data, size_t *ret_size)
{
    _close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t got = 0, room;
    struct stat st;
    ssize_t n;
    u8 *data;

    if (fd < 0)
        return -errno;
    if (fstat(fd, &st))
        return -errno;
    if (!S_ISREG(st.st_mode) || st.st_size > (off_t)REC_MAX_FILE)
        return -EINVAL;
    room = (size_t)st.st_size;
    data = calloc(1, room + 16);
    if (!data)
        return -ENOMEM;
    while (got < room && (n = read(fd, data + got, room - got)) > 0)
        got += (size_t)n;
    *ret_data = data;
    *ret_size = got;
    return 0;
}

int rec_read(const char *path, struct rec *ret, struct tn_error *err)
{
    size_t size;
    u8 *file;
    int e = rec_slurp(path, &file, &size);

    return e ? tn_fail(err, e, "bad_recording", "cannot be read: %s", strerror(-e))
             : parse_owned(file, size, ret, err);
}

void rec_clear(struct rec *rec)
{
    free(rec->file);
    *rec = (struct rec){0};
}

/* ------------------------------------------------------------------------------------------- writing */

static u8 *more(struct rec_out *out, size_t size)
{
    if (out->failed)
        return NULL;
    if (out->room - out->size < size) {
        size_t room = TN_MAX(out->room * 2, out->size + size + 4096);
        u8 *data = realloc(out->data, room);

        if (!data) {
            out->failed = true;
            return NULL;
        }
        out->data = data;
        out->room = room;
    }
    memset(out->data + out->size, 0, size);
    out->size += size;
    return out->data + out->size - size;
}

void rec_put(struct rec_out *out, enum rec_kind kind, const void *data, u32 size)
{
    struct rec_part part = {.kind = kind, .size = size};
    u8 *to;

    if (!out->size)
        more(out, sizeof(struct rec_head));
    to = more(out, sizeof(part) + TN_ROUND_UP((size_t)size, 8));
    if (!to)
        return;
    memcpy(to, &part, sizeof(part));
    if (size)
        memcpy(to + sizeof(part), data, size);
}

void rec_put_text(struct rec_out *out, enum rec_kind kind, const char *text)
{
    rec_put(out, kind, text, (u32)strlen(text) + 1);
}

int rec_save(struct rec_out *out, const char *path)
{
    struct rec_head head = {.magic = {'t', 'n', 'r', 'e', 'c', 'o', 'r', 'd'}, .version = REC_VERSION};
    char temporary[4096];
    size_t done = 0;
    int fd;

    if (out->failed)
        return -ENOMEM;
    if (out->size < sizeof(head) || out->size > REC_MAX_FILE)
        return -E2BIG;
    head.size = (u32)out->size;
    memcpy(out->data, &head, sizeof(head));
    if (snprintf(temporary, sizeof(temporary), "%s.%d", path, (int)getpid()) >= (int)sizeof(temporary))
        return -ENAMETOOLONG;
    fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        return -errno;
    while (done < out->size) {
        ssize_t n = write(fd, out->data + done, out->size - done);

        if (n <= 0)
            break;
        done += (size_t)n;
    }
    close(fd);
    if (done < out->size || rename(temporary, path)) {
        unlink(temporary);
        return -EIO;
    }
    return 0;
}

void rec_out_clear(struct rec_out *out)
{
    free(out->data);
    *out = (struct rec_out){0};
}
