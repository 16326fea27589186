/* SPDX-License-Identifier: MIT */
/*
 * The broker: owner of every object (map, program, BTF, link), and the only one that verifies, compiles and
 * decides. One thread, one epoll loop; long work (entering a process) is done by processes of its own
 * (inject/).
 */
#ifndef TN_BROKER_H
#define TN_BROKER_H

#include "base/base.h"

/* Where this user's broker listens: $TENON_SOCKET, else /run/tenon/broker.sock for root, else
   $XDG_RUNTIME_DIR/tenon/broker.sock, else /tmp/tenon-UID/broker.sock. The directory is made 0700 and must be
   owned by the user. */
int tn_broker_socket_path(char *ret_path, size_t cap, struct tn_error *err);

/* Connects to the user's broker; starts one (a daemon of its own session, this same
   executable with argument "broker", or the one named by $TENON_EXE) when none answers. Safe
   when many do so at once. Returns a descriptor. */
int tn_broker_connect(struct tn_error *err);
/* The same, but never starts one: −ENOENT (reason "no_broker") when none answers. */
int tn_broker_connect_running(struct tn_error *err);

/* The sub-command "broker" as tn_broker_connect starts it: argv[1] = "broker", the listening
   socket is descriptor 3, the socket's path is $TENON_SOCKET, what fails is told as proto.h says. Whoever is the executable
   behind $TENON_EXE (`tenon`) calls this and returns its value from main. Not for people; it
   says so when it is called without a socket. */
int tn_broker_main(int argc, char **argv);

/* Runs the broker on a listening socket until nothing needs it any more (no connection, no kept link) for
   `linger_ms`. Returns 0 or −errno. `told` (−1: none) is owned: closed as soon as it serves, and told before
   why it cannot (proto.h). */
int tn_broker_run(int listen_fd, u32 linger_ms, int told);

#endif
