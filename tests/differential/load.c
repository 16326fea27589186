/* SPDX-License-Identifier: MIT */
/*
 * Opens one object with libbpf and loads each of its programs alone, so that one refusal does not hide the
 * others; the recorder (record.c), in this same executable, sees what libbpf asks of bpf(2).
 *
 *     load OBJECT [PROGRAM]     with TENON_RECORD and TENON_RECORD_CORPUS set, see record.c
 *
 * Annotations of Linux's selftests sit in the object's BTF as declaration tags on the program's function;
 * they steer the load here (flags, log level, programs that only help others) and are kept with the
 * recording. One line a program on standard output: `NAME: recorded`, or why libbpf never came to ask the
 * kernel.
 */
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <sys/stat.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "base/base.h"

#define MAX_PROGRAMS 2048u

struct program {
    char name[128];
    char expect[65536]; /* a tag a line, without `comment:` */
    u32 flags, level;
    bool auxiliary;
};

static char said[512]; /* libbpf's last warning */

static int listen(enum libbpf_print_level level, const char *fmt, va_list ap)
{
    char line[4096], *from;

    if (level != LIBBPF_WARN)
        return 0;
    vsnprintf(line, sizeof(line), fmt, ap);
    from = strncmp(line, "libbpf: ", 8) ? line : line + 8;
    if (strstr(line, "BEGIN PROG LOAD LOG") || strstr(line, "failed to load object"))
        return 0;
    snprintf(said, sizeof(said), "%.*s", (int)strcspn(from, "\n"), from);
    return 0;
}

static u32 flag_of(const char *word)
{
    static const struct {
        const char *name;
        u32 bit;
    } rows[] = {
        {"BPF_F_STRICT_ALIGNMENT", BPF_F_STRICT_ALIGNMENT},
        {"BPF_F_ANY_ALIGNMENT", BPF_F_ANY_ALIGNMENT},
        {"BPF_F_TEST_RND_HI32", BPF_F_TEST_RND_HI32},
        {"BPF_F_TEST_STATE_FREQ", BPF_F_TEST_STATE_FREQ},
        {"BPF_F_SLEEPABLE", BPF_F_SLEEPABLE},
        {"BPF_F_XDP_HAS_FRAGS", BPF_F_XDP_HAS_FRAGS},
        {"BPF_F_TEST_REG_INVARIANTS", 1u << 7},
    };
    u32 flags = 0;

    for (const char *at = word; *at;) {
        size_t n = strcspn(at, " |()");

        for (size_t k = 0; k < TN_ARRAY_SIZE(rows); k++)
            if (strlen(rows[k].name) == n && !strncmp(rows[k].name, at, n))
                flags |= rows[k].bit;
        if (*at >= '0' && *at <= '9')
            flags |= (u32)strtoul(at, NULL, 0);
        at += n + strspn(at + n, " |()");
    }
    return flags;
}

static void note(struct program *p, const char *tag)
{
    size_t used = strlen(p->expect);

    if (!strncmp(tag, "test_log_level=", 15))
        p->level = (u32)strtoul(tag + 15, NULL, 0);
    if (!strncmp(tag, "test_prog_flags=", 16))
        p->flags |= flag_of(tag + 16);
    if (!strcmp(tag, "test_auxiliary"))
        p->auxiliary = true;
    if (strstr(tag, "_unpriv") || strchr(tag, '\n'))
        return;
    snprintf(p->expect + used, sizeof(p->expect) - used, "%s\n", tag);
}

/* Tags in the order of the source: their number, where they have one, says it. */
static void annotations(const struct bpf_object *obj, struct program *p)
{
    const struct btf *btf = bpf_object__btf(obj);
    s32 func = btf ? btf__find_by_name_kind(btf, p->name, BTF_KIND_FUNC) : -1;

    for (u32 id = 1; func > 0 && id < btf__type_cnt(btf); id++) {
        const struct btf_type *t = btf__type_by_id(btf, id);
        const char *tag;

        if (!btf_is_decl_tag(t) || (s32)t->type != func || btf_decl_tag(t)->component_idx != -1)
            continue;
        tag = btf__name_by_offset(btf, t->name_off);
        if (tag && !strncmp(tag, "comment:", 8))
            note(p, tag + 8);
    }
}

/* Sizes that the object's own user space sets before it loads: some value must be there. */
static void size_maps(const struct bpf_object *obj)
{
    struct bpf_map *map;

    bpf_object__for_each_map(map, obj)
    {
        bool ring =
            bpf_map__type(map) == BPF_MAP_TYPE_RINGBUF || bpf_map__type(map) == BPF_MAP_TYPE_USER_RINGBUF;

        if (!bpf_map__max_entries(map) && bpf_map__value_size(map) | ring)
            bpf_map__set_max_entries(map, ring ? TN_PAGE : 1);
    }
}

static struct bpf_object *open_object(const char *path)
{
    LIBBPF_OPTS(bpf_object_open_opts, opts, .relaxed_maps = true);
    struct bpf_object *obj = bpf_object__open_file(path, &opts);

    if (obj)
        size_maps(obj);
    return obj;
}

static void load_one(const char *path, const struct program *all, u32 n, const struct program *p)
{
    struct bpf_object *obj = open_object(path);
    struct bpf_program *prog;
    struct stat st;
    char level[16], file[PATH_MAX];
    int e;

    if (!obj) {
        printf("%s: cannot be opened: %s\n", p->name, said);
        return;
    }
    bpf_object__for_each_program(prog, obj)
    {
        bool wanted = !strcmp(bpf_program__name(prog), p->name), helps = false;

        for (u32 k = 0; k < n; k++)
            helps |= all[k].auxiliary && !strcmp(all[k].name, bpf_program__name(prog));
        bpf_program__set_autoload(prog, wanted || helps);
        if (wanted)
            bpf_program__set_flags(prog, bpf_program__flags(prog) | p->flags);
    }
    snprintf(level, sizeof(level), "%u", p->level ? p->level : 1);
    setenv("TENON_RECORD_ONLY", p->name, 1);
    setenv("TENON_RECORD_LEVEL", level, 1);
    if (*p->expect)
        setenv("TENON_RECORD_EXPECT", p->expect, 1);
    else
        unsetenv("TENON_RECORD_EXPECT");
    snprintf(file, sizeof(file), "%s/%s/%s/%s.rec", getenv("TENON_RECORD"), getenv("TENON_RECORD_CORPUS"),
             getenv("TENON_RECORD_OBJECT"), p->name);
    unlink(file);
    said[0] = 0;
    e = bpf_object__load(obj);
    if (stat(file, &st))
        printf("%s: never asked: %s (%s)\n", p->name, said, strerror(-e));
    else
        printf("%s: recorded\n", p->name);
    bpf_object__close(obj);
}

int main(int argc, char **argv)
{
    struct program *all = calloc(MAX_PROGRAMS, sizeof(*all));
    struct bpf_program *prog;
    struct bpf_object *obj;
    char object[256];
    const char *base;
    u32 n = 0;

    if (argc < 2 || !all || !getenv("TENON_RECORD") || !getenv("TENON_RECORD_CORPUS")) {
        fprintf(stderr, "usage: TENON_RECORD=FOLDER TENON_RECORD_CORPUS=NAME %s OBJECT [PROGRAM]\n", argv[0]);
        return 2;
    }
    base = strrchr(argv[1], '/');
    base = base ? base + 1 : argv[1];
    snprintf(object, sizeof(object), "%.*s", (int)strcspn(base, "."), base);
    setenv("TENON_RECORD_OBJECT", object, 1);
    setvbuf(stdout, NULL, _IOLBF, 0);
    libbpf_set_print(listen);
    obj = open_object(argv[1]);
    if (!obj) {
        printf("%s: cannot be opened: %s\n", object, said);
        return 1;
    }
    bpf_object__for_each_program(prog, obj)
    {
        if (n == MAX_PROGRAMS)
            break;
        snprintf(all[n].name, sizeof(all[n].name), "%s", bpf_program__name(prog));
        annotations(obj, &all[n++]);
    }
    bpf_object__close(obj);
    for (u32 k = 0; k < n; k++)
        if (argc < 3 || !strcmp(argv[2], all[k].name))
            load_one(argv[1], all, n, &all[k]);
    free(all);
    return 0;
}
