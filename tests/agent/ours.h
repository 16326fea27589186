/* SPDX-License-Identifier: MIT */
/* Signals of this very process are made ours, as the injector does in a target. */
#ifndef TESTS_AGENT_OURS_H
#define TESTS_AGENT_OURS_H

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/agent.h"
#include "rt/loads.h"
#include "rt/self.h"
#include "rt/signals.h"

/* `set`: which. Not `really`: everything is there, and the kernel's handlers are the host's. process_vm_readv is not allowed: what is
   read is read by loads. */
static inline void take_signals(struct tn_signals **ret, struct tn_proc *proc, struct tn_private **ret_priv,
                                u64 set, bool really)
{
    u8 stub[24] = {0x48, 0xb9}, jump_at[] = {0xff, 0x25, 0, 0, 0, 0};
    u64 to = (u64)tn_agent_trap;
    u8 *text = mmap(NULL, TN_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct tn_signals *sigs =
        mmap(NULL, sizeof(*sigs), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct tn_private *priv =
        mmap(NULL, sizeof(*priv), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const struct tn_sigaction host = {};

    madvise(priv, sizeof(*priv), MADV_WIPEONFORK);
    priv->armed = TN_ARMED;
    priv->pid = (u32)getpid();
    *proc = (struct tn_proc){.priv = priv,
                             .allowed_syscalls = ~(really ? 1u << TN_SYS_process_vm_readv : 0),
                             .tp_how = TN_TP_SELF,
                             .pid = (u32)getpid(),
                             .signals = (u64)sigs};
    memcpy(stub + 2, &sigs, 8);
    memcpy(stub + 10, jump_at, sizeof(jump_at));
    memcpy(stub + 16, &to, 8);
    memcpy(text, stub, sizeof(stub));
    mprotect(text, TN_PAGE, PROT_READ | PROT_EXEC);
    sigs->proc = proc;
    sigs->entry = (u64)text;
    sigs->restorer = (u64)tn_agent_sigreturn;
    sigs->taken = set;
    sigs->loads = really;
    sigs->on = really ? TN_SIGNALS_ON : TN_SIGNALS_OFF;
    for (u32 row = 0; really && row < TN_OURS_COUNT; row++) {
        u32 sig = tn_ours_nr((enum tn_ours)row);
        struct tn_sigaction act = tn_signals_action(sigs, sig, &host);

        if (set & TN_SIG_BIT(sig))
            syscall(SYS_rt_sigaction, sig, &act, NULL, 8);
    }
    *ret = sigs;
    *ret_priv = priv;
}

#endif
