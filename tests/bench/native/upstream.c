/* The upstream of the measurements: one thread, one epoll, one read and one write a request. It is no general server: GET,
 * and POST and PUT as Sidegate sends them, heads below 64 KiB, answers that are ready made. Nothing that is installed everywhere costs as
 * little beside the proxy.
 *
 *   GET /v1/items/…   100 bytes of JSON            GET /v1/blob16k   16 KiB
 *   GET /v1/big/N     N MiB                        GET /v1/echo      the request's head, as it came
 *
 * Usage: upstream PORT SOCKET      (listens on 127.0.0.1:PORT and on the Unix socket SOCKET)
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { HEAD_BYTES = 65536, CHUNK_BYTES = 262144, BLOB_BYTES = 16384, ITEM_BYTES = 100 };

struct connection {
    int fd, writing;
    size_t buffered;
    const char *out; /* what is still to be written: ready made, or `owned` */
    size_t out_bytes;
    char *owned;
    long long chunks_bytes; /* of a /v1/big answer, still to come after `out` */
    size_t content_bytes; /* of a request, still to be thrown away before it is answered */
    char head[HEAD_BYTES];
};

static char item[512], blob[BLOB_BYTES + 512], chunk[CHUNK_BYTES];
static size_t item_bytes, blob_bytes;
static int epoll;

static void drop(struct connection *c) {
    close(c->fd);
    free(c->owned);
    free(c);
}

static void watch(struct connection *c, int writing) {
    if (c->writing == writing) return;
    c->writing = writing;
    struct epoll_event event = {.events = writing ? EPOLLOUT : EPOLLIN, .data.ptr = c};
    epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &event);
}

/* 1: all is written, 0: the socket is full, -1: the connection is dead. */
static int flush(struct connection *c) {
    for (;;) {
        if (!c->out_bytes && c->chunks_bytes) {
            c->out = chunk;
            c->out_bytes = c->chunks_bytes < CHUNK_BYTES ? (size_t)c->chunks_bytes : CHUNK_BYTES;
            c->chunks_bytes -= (long long)c->out_bytes;
        }
        if (!c->out_bytes) break;
        ssize_t written = write(c->fd, c->out, c->out_bytes);
        if (written < 0) {
            if (errno != EAGAIN) return -1;
            watch(c, 1);
            return 0;
        }
        c->out += written;
        c->out_bytes -= (size_t)written;
    }
    free(c->owned);
    c->owned = NULL;
    watch(c, 0);
    return 1;
}

static int begins(const char *text, const char *prefix) { return !strncmp(text, prefix, strlen(prefix)); }

static void answer(struct connection *c, const char *path, size_t head_bytes) {
    static const char none[] = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
    int bytes = 0;
    if (begins(path, "/v1/items/")) {
        c->out = item, c->out_bytes = item_bytes;
    } else if (begins(path, "/v1/blob16k")) {
        c->out = blob, c->out_bytes = blob_bytes;
    } else if (begins(path, "/v1/big/")) {
        c->chunks_bytes = atoll(path + 8) << 20;
        bytes = asprintf(&c->owned, "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: %lld\r\n\r\n", c->chunks_bytes);
    } else if (begins(path, "/v1/echo")) {
        bytes = asprintf(&c->owned, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n\r\n%.*s", head_bytes, (int)head_bytes, c->head);
    } else {
        c->out = none, c->out_bytes = sizeof none - 1;
    }
    if (bytes > 0) c->out = c->owned, c->out_bytes = (size_t)bytes;
}

static void take(struct connection *c, size_t bytes) {
    memmove(c->head, c->head + bytes, c->buffered - bytes);
    c->buffered -= bytes;
}

/* As Sidegate writes it. */
static size_t content_length(const char *head, size_t head_bytes) {
    static const char name[] = "\r\ncontent-length: ";
    char *line = memmem(head, head_bytes, name, sizeof name - 1);
    return line ? strtoul(line + sizeof name - 1, NULL, 10) : 0;
}

/* Answers what is buffered; -1: the connection is to be dropped. */
static int serve(struct connection *c) {
    while (c->buffered) {
        if (c->content_bytes) {
            size_t taken = c->content_bytes < c->buffered ? c->content_bytes : c->buffered;
            c->content_bytes -= taken;
            take(c, taken);
        } else {
            char *end = memmem(c->head, c->buffered, "\r\n\r\n", 4);
            if (!end) return c->buffered < HEAD_BYTES ? 0 : -1;
            size_t head_bytes = (size_t)(end + 4 - c->head);
            int gets = begins(c->head, "GET ");
            if (!gets && !begins(c->head, "POST ") && !begins(c->head, "PUT ")) return -1;
            answer(c, strchr(c->head, ' ') + 1, head_bytes);
            c->content_bytes = gets ? 0 : content_length(c->head, head_bytes);
            take(c, head_bytes);
        }
        if (c->content_bytes) continue;
        int flushed = flush(c);
        if (flushed <= 0) return flushed;
    }
    return 0;
}

static void accept_all(int listener, int tcp) {
    int fd, one = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        if (tcp) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct connection *c = calloc(1, sizeof *c);
        if (!c) exit(1);
        c->fd = fd;
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    }
}

static void on_event(struct connection *c) {
    if (c->writing) {
        int flushed = flush(c);
        if (flushed < 0 || (flushed == 1 && serve(c) < 0)) drop(c);
        return;
    }
    ssize_t got = read(c->fd, c->head + c->buffered, HEAD_BYTES - c->buffered);
    if (got > 0) {
        c->buffered += (size_t)got;
        if (serve(c) < 0) drop(c);
    } else if (got == 0 || errno != EAGAIN) {
        drop(c);
    }
}

static void listen_on(struct connection *listener, int family, const struct sockaddr *address, socklen_t length) {
    int one = 1;
    listener->fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(listener->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener->fd, address, length) || listen(listener->fd, 4096)) {
        perror("listen");
        exit(1);
    }
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = listener};
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener->fd, &event);
}

int main(int count, char **arguments) {
    if (count != 3) return 2;
    signal(SIGPIPE, SIG_IGN);
    item_bytes = (size_t)sprintf(item, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n{\"id\":42,\"pad\":\"", ITEM_BYTES);
    memset(item + item_bytes, 'x', ITEM_BYTES - 18);
    item_bytes += ITEM_BYTES - 18;
    memcpy(item + item_bytes, "\"}", 2);
    item_bytes += 2;
    blob_bytes = (size_t)sprintf(blob, "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n", BLOB_BYTES);
    memset(blob + blob_bytes, 'b', BLOB_BYTES);
    blob_bytes += BLOB_BYTES;
    memset(chunk, 'c', CHUNK_BYTES);

    epoll = epoll_create1(0);
    static struct connection tcp, local; /* the listeners, told from connections by their addresses */
    struct sockaddr_in port = {.sin_family = AF_INET, .sin_port = htons((in_port_t)atoi(arguments[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_un path = {.sun_family = AF_UNIX};
    strncpy(path.sun_path, arguments[2], sizeof path.sun_path - 1);
    unlink(arguments[2]);
    listen_on(&tcp, AF_INET, (struct sockaddr *)&port, sizeof port);
    listen_on(&local, AF_UNIX, (struct sockaddr *)&path, sizeof path);
    for (;;) {
        struct epoll_event events[256];
        int ready = epoll_wait(epoll, events, 256, -1);
        for (int i = 0; i < ready; i++) {
            struct connection *c = events[i].data.ptr;
            if (c == &tcp || c == &local) accept_all(c->fd, c == &tcp);
            else on_event(c);
        }
    }
}
