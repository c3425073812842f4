/* The yardstick: CPU nanoseconds of one fixed step that is like a proxy's, in one process on one core. 200 bytes through a loopback
 * connection (send, epoll_wait, recv) and back, and a pass over 512 bytes. Machines that are shared change speed from minute to
 * minute; this says by how much.
 *
 * Usage: yardstick STEPS      (prints nanoseconds a step, of CPU time)
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>

static double cpu_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

int main(int count, char **arguments) {
    if (count != 2) return 2;
    int steps = atoi(arguments[1]), one = 1, listener = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    if (bind(listener, (void *)&address, length) || listen(listener, 1) || getsockname(listener, (void *)&address, &length)) return 1;
    if (connect(client, (void *)&address, length)) return 1;
    int server = accept(listener, NULL, NULL), epoll = epoll_create1(0);
    setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.fd = server};
    epoll_ctl(epoll, EPOLL_CTL_ADD, server, &event);

    static unsigned char bytes[512];
    volatile unsigned hash = 0;
    double began = 0;
    for (int step = -steps / 10; step < steps; step++) { /* the first tenth warms up */
        if (step == 0) began = cpu_ns();
        if (send(client, bytes, 200, 0) != 200 || epoll_wait(epoll, &event, 1, 100) != 1 || recv(server, bytes, 512, 0) != 200) return 1;
        if (send(server, bytes, 200, 0) != 200 || recv(client, bytes, 512, 0) != 200) return 1;
        for (int i = 0; i < 512; i++) hash = (hash ^ bytes[i]) * 16777619u;
    }
    printf("%.1f\n", (cpu_ns() - began) / steps);
}
