/* SPDX-License-Identifier: MIT */
/*
 * What the agent must know of its process, found from outside and proved where it can be: offsets from the
 * thread pointer are believed only if the held thread's own memory agrees with what the kernel says of that
 * thread.
 *
 * Names come from the dynamic symbols of the target's own libraries: `_thread_db_pthread_tid` (what
 * libthread_db reads in glibc: bits, count, offset), `__rseq_offset` and `__rseq_size` (glibc ≥ 2.35,
 * <sys/rseq.h>), `__vdso_clock_gettime`. All of these files and this memory are hostile: each number is
 * checked, and a lie can only cost its process speed or its own correctness.
 */
#include "agent/routines.h"
#include "inject/order.h"

#include <cpuid.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>

#define TABLE_MAX (8u << 20)

int tn_peek(pid_t pid, u64 addr, void *ret_bytes, u64 len)
{
    struct iovec here = {ret_bytes, len}, there = {(void *)addr, len};
    ssize_t n = process_vm_readv(pid, &here, 1, &there, 1, 0);

    return n == (ssize_t)len ? 0 : n < 0 ? -errno : -EFAULT;
}

int tn_open_mapped(pid_t pid, const struct tn_maps *maps, const struct tn_vma *vma)
{
    char path[4300];
    struct stat sb;
    int fd;

    /* The very inode, whatever happened to its name; needs CAP_CHECKPOINT_RESTORE. */
    snprintf(path, sizeof(path), "/proc/%d/map_files/%llx-%llx", pid, (unsigned long long)vma->start,
             (unsigned long long)vma->end);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0)
        return fd;
    snprintf(path, sizeof(path), "/proc/%d/root%s", pid, tn_vma_name(maps, vma));
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return -errno;
    if (fstat(fd, &sb) < 0 || !S_ISREG(sb.st_mode) || sb.st_ino != vma->ino) {
        close(fd);
        return -ESTALE;
    }
    return fd;
}

static int table(int fd, u64 offset, u64 size, void **ret)
{
    _free_ char *bytes = NULL;

    if (size == 0 || size > TABLE_MAX || offset > 1ull << 40)
        return -EBADMSG;
    bytes = malloc(size + 1);
    if (!bytes)
        return -ENOMEM;
    if (pread(fd, bytes, size, (off_t)offset) != (ssize_t)size)
        return -EBADMSG;
    bytes[size] = 0;
    *ret = TN_TAKE_PTR(bytes);
    return 0;
}

static int find_sym(const Elf64_Sym *sym, u64 nsym, const char *str, u64 nstr, const char *name, u64 *ret)
{
    for (u64 i = 0; i < nsym; i++)
        if (sym[i].st_shndx != SHN_UNDEF && sym[i].st_name < nstr && !strcmp(str + sym[i].st_name, name)) {
            *ret = sym[i].st_value;
            return 0;
        }
    return -ENOENT;
}

static int elf_dynsym(int fd, const char *name, u64 *ret_value)
{
    _free_ Elf64_Shdr *sh = NULL;
    Elf64_Ehdr eh;
    int r;

    if (pread(fd, &eh, sizeof(eh), 0) != sizeof(eh) || memcmp(eh.e_ident, ELFMAG, SELFMAG) ||
        eh.e_ident[EI_CLASS] != ELFCLASS64 || eh.e_shentsize != sizeof(*sh))
        return -EBADMSG;
    r = table(fd, eh.e_shoff, (u64)eh.e_shnum * sizeof(*sh), (void **)&sh);
    if (r < 0)
        return r;
    for (u32 i = 0; i < eh.e_shnum; i++) {
        _free_ Elf64_Sym *sym = NULL;
        _free_ char *str = NULL;

        if (sh[i].sh_type != SHT_DYNSYM || sh[i].sh_link >= eh.e_shnum)
            continue;
        r = table(fd, sh[i].sh_offset, sh[i].sh_size, (void **)&sym);
        if (r == 0)
            r = table(fd, sh[sh[i].sh_link].sh_offset, sh[sh[i].sh_link].sh_size, (void **)&str);
        return r < 0 ? r
                     : find_sym(sym, sh[i].sh_size / sizeof(*sym), str, sh[sh[i].sh_link].sh_size, name,
                                ret_value);
    }
    return -ENOENT;
}

static const struct tn_planned *remembered(const struct tn_brain *b, const struct tn_planned *key)
{
    const struct tn_planned *p = tn_plans_find(&b->fresh, key);

    return p ? p : tn_plans_find(b->cache, key);
}

static void remember(struct tn_brain *b, const struct tn_planned *key, u64 value)
{
    struct tn_planned *p = malloc(sizeof(*p));

    if (!p)
        return;
    memcpy(p, key, sizeof(*p));
    p->addr = value;
    (void)tn_plans_add(&b->fresh, p);
}

int tn_dynsym(struct tn_brain *b, int fd, const char *name, u64 *ret_value)
{
    _free_ struct tn_planned *key = calloc(1, sizeof(*key));
    const struct tn_planned *known;
    struct stat sb;
    u64 value = 0;

    if (!key || fstat(fd, &sb) < 0)
        return -ENOENT;
    *key = tn_plans_key(&sb, 0, TN_PLANNED_SYMBOL);
    snprintf(key->symbol, sizeof(key->symbol), "%s", name);
    known = remembered(b, key);
    if (known) {
        value = known->addr;
    } else {
        if (elf_dynsym(fd, name, &value) < 0)
            value = 0;
        remember(b, key, value);
    }
    if (!value)
        return -ENOENT;
    *ret_value = value;
    return 0;
}

/* The vDSO is an ELF file in memory, with its section headers. All processes of a kernel have the same one,
   or nearly all: told apart by its first page. */
static u64 vdso_clock(struct tn_brain *b, pid_t pid)
{
    u64 at = tn_proc_auxv(pid, AT_SYSINFO_EHDR), value, hash = 0xcbf29ce484222325ull;
    _free_ struct tn_planned *key = calloc(1, sizeof(*key));
    const struct tn_planned *known;
    _close_ int fd = -1;
    u64 words[TN_PAGE / 8];
    u8 page[TN_PAGE];

    if (!at || !key || tn_peek(pid, at, words, sizeof(words)) < 0)
        return 0;
    for (u32 i = 0; i < TN_ARRAY_SIZE(words); i++) /* FNV-1a, a word at a time */
        hash = (hash ^ words[i]) * 0x100000001b3ull;
    key->place = TN_PLANNED_SYMBOL;
    key->size = hash;
    snprintf(key->symbol, sizeof(key->symbol), "vdso");
    known = remembered(b, key);
    if (known)
        return known->addr ? at + known->addr : 0;
    fd = memfd_create("tenon-vdso", MFD_CLOEXEC);
    for (u32 i = 0; fd >= 0 && i < 4 && tn_peek(pid, at + i * TN_PAGE, page, sizeof(page)) == 0; i++)
        if (write(fd, page, sizeof(page)) != sizeof(page))
            return 0;
    if (fd < 0 || elf_dynsym(fd, "__vdso_clock_gettime", &value) < 0 || value >= 4 * TN_PAGE)
        value = 0;
    remember(b, key, value);
    return value ? at + value : 0;
}

static bool is_lib(const char *path, const char *prefix)
{
    const char *base = strrchr(path, '/');

    return base && !strncmp(base + 1, prefix, strlen(prefix));
}

/* Address in the target of a dynamic symbol of the first mapped file with that name; 0: none. */
static u64 symbol_in(struct tn_brain *b, pid_t pid, const struct tn_maps *maps, const char *lib,
                     const char *name)
{
    for (u32 i = 0; i < maps->n; i++) {
        const struct tn_vma *v = &maps->vma[i];
        _close_ int fd = -1;
        u64 value;

        if (!v->ino || v->offset || !is_lib(tn_vma_name(maps, v), lib))
            continue;
        fd = tn_open_mapped(pid, maps, v);
        return fd >= 0 && tn_dynsym(b, fd, name, &value) == 0 ? v->start + value : 0;
    }
    return 0;
}

/*
 * Has the process threads that libc has not made? What is at their thread pointer nobody knows; it may be
 * zero, where a load would be a fault. A thread that is just ending is counted by the kernel only, so it is
 * asked again.
 */
static bool foreign_threads(struct tn_brain *b, pid_t pid, const struct tn_maps *maps)
{
    u64 at = symbol_in(b, pid, maps, "libc.so", "__nptl_nthreads");

    for (int tries = 0; at && tries < 4; tries++) {
        u32 made, threads;

        if (tn_proc_threads(pid, &threads) < 0 || tn_peek(pid, at, &made, 4) < 0 || threads <= made)
            return false;
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    }
    return at;
}

/* The program's own file in memory: the readable mappings of it around its program headers that follow each
   other without a gap. What another mapping could take the place of is not among them. */
static void fill_image(pid_t pid, const struct tn_maps *maps, struct tn_proc *p)
{
    const struct tn_vma *first = tn_maps_at(maps, tn_proc_auxv(pid, AT_PHDR)), *last = first;
    const struct tn_vma *end = maps->vma + maps->n;

    if (!first || !first->ino || !(first->prot & PROT_READ))
        return;
    while (first > maps->vma && first[-1].end == first->start && first[-1].ino == first->ino &&
           first[-1].dev == first->dev && (first[-1].prot & PROT_READ))
        first--;
    while (last + 1 < end && last[1].start == last->end && last[1].ino == last->ino &&
           last[1].dev == last->dev && (last[1].prot & PROT_READ))
        last++;
    p->image_start = first->start;
    p->image_end = last->end;
}

static void ask_xsave(struct tn_proc *p)
{
    const u32 osxsave = 1u << 27, pkru = 1u << 9;
    u32 a, b, c, d, low, high;

    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & osxsave) || !__get_cpuid_count(13, 0, &a, &b, &c, &d))
        return;
    p->xsave_size =
        b; /* of all components that are enabled, in the standard form: the compact one is no longer */
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    p->xsave_mask = ((u64)high << 32 | low) & ~(u64)pkru;
    if (!__get_cpuid_count(13, 1, &a, &b, &c, &d))
        return;
    p->xsave_how = a & 2 ? XSAVE_COMPACT : 0;
}

void tn_facts_xsave(struct tn_proc *p)
{
    static struct tn_proc known;
    static bool asked;

    if (!asked) /* in a virtual machine each CPUID is a way out of it and back */
        ask_xsave(&known);
    asked = true;
    p->xsave_size = known.xsave_size;
    p->xsave_mask = known.xsave_mask;
    p->xsave_how = known.xsave_how;
}

int tn_facts_fill(struct tn_brain *b, pid_t pid, u64 fs_base, pid_t tid, u32 allowed_syscalls,
                  const struct tn_maps *maps, struct tn_proc *p)
{
    struct tn_status st, thread;
    int r = tn_status_read(pid, pid, &st);
    u32 field[3], value, size;
    u64 at, word;
    s64 off;

    if (r == 0)
        r = tn_status_read(pid, tid, &thread);
    if (r < 0)
        return r;
    p->ncpu = b->shared->ncpu;
    p->pid = st.nspid ? st.nspid : (u32)pid;
    p->owner_pid = (u32)pid;
    p->allowed_syscalls = allowed_syscalls;
    p->vdso_clock_gettime = vdso_clock(b, pid);
    fill_image(pid, maps, p);
    tn_facts_xsave(p);
    p->tp_how = tn_proc_auxv(pid, AT_HWCAP2) & 2 ? TN_TP_RDFSBASE : TN_TP_ARCH_PRCTL;
    if (!fs_base)
        return 0;
    /* A load is free; rdfsbase costs a trampoline as much as all the rest of it. Where one thread has no
       thread area of libc's, or another may have none, nothing is read from there. */
    if (tn_peek(pid, fs_base, &word, 8) < 0 || word != fs_base || foreign_threads(b, pid, maps))
        return 0;
    p->tp_how = TN_TP_SELF;

    at = symbol_in(b, pid, maps, "libc.so", "_thread_db_pthread_tid");
    if (at && tn_peek(pid, at, field, sizeof(field)) == 0 && field[0] == 32 && field[2] > 0 &&
        field[2] < 65536 && tn_peek(pid, fs_base + field[2], &value, 4) == 0 && value == thread.nspid)
        p->tid_off = (s32)field[2];

    at = symbol_in(b, pid, maps, "ld-linux", "__rseq_offset");
    u64 at_size = symbol_in(b, pid, maps, "ld-linux", "__rseq_size");

    if (at && at_size && tn_peek(pid, at, &off, 8) == 0 && tn_peek(pid, at_size, &size, 4) == 0 &&
        size >= 20 && off > -65536 && off < 65536 && tn_peek(pid, fs_base + (u64)off + 4, &value, 4) == 0 &&
        value < p->ncpu)
        p->rseq_cpu_off = (s32)off + 4;
    return 0;
}
