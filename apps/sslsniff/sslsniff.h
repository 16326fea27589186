/* SPDX-License-Identifier: MIT */
/* What the extension and the tool that shows what it sends agree on. */
#ifndef SSLSNIFF_H
#define SSLSNIFF_H

/* CALL(id, function of libssl, what it does): each is watched where it is entered and where it returns. */
#define CALLS(CALL)                                                                                          \
    CALL(READ, SSL_read, "READ")                                                                             \
    CALL(READ_EX, SSL_read_ex, "READ")                                                                       \
    CALL(WRITE, SSL_write, "WRITE")                                                                          \
    CALL(WRITE_EX, SSL_write_ex, "WRITE")

enum call {
#define CALL(id, function, what) CALL_##id,
    CALLS(CALL)
#undef CALL
        CALL_COUNT
};

#define PART        16384u /* bytes of one event at most: a record of TLS */
#define PARTS       16u    /* events of one call at most */
#define THREADS_MAX 4096u  /* told apart by the low bits of their ids */

/* A piece of what one call has read or written; those of a call follow one another, but for lost ones. */
struct event {
    unsigned long long since, ns; /* when the call was made, by CLOCK_MONOTONIC; how long it took */
    unsigned long long ssl;       /* whose: the address of the connection's SSL */
    unsigned int pid, tid;
    unsigned int call;  /* enum call */
    unsigned int total; /* bytes that the call has read or written */
    unsigned int at, len;
    unsigned char bytes[];
};

/* What could not be sent. */
struct lost {
    unsigned long long events, bytes; /* the ring was full */
    unsigned long long calls;         /* another thread's call had this one's place */
    unsigned long long unreadable;    /* bytes that were not there to be read */
};

#endif
