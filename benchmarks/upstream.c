/* Both ends of the wire for benchmarks/gateway.py: a provider that answers at once, and a reader of paced streams.
 *
 *   upstream serve PORT PACE_US EVENTS
 *       Answers every POST on 127.0.0.1:PORT with the same completion of 491 bytes; if the body says "stream": true,
 *       with EVENTS server-sent events, one every PACE_US microseconds (0 = all at once), and [DONE].
 *   upstream read PORT STREAMS SECONDS EVENTS SPREAD_MS REQUEST_FILE
 *       Keeps STREAMS streams open for SECONDS, sending the bytes of REQUEST_FILE for each, reads them to their end
 *       and prints one line of JSON. The first ones begin evenly over SPREAD_MS, so that not all begin at once.
 *
 * The content of an event is @, its number, -, and the time it was sent (ns of the monotonic clock), so that the
 * reader sees what is missing, what came twice, and how long each event was under way. One thread, epoll, Linux.
 * Build: cc -O2 -o upstream upstream.c
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { ROOM = 1 << 17, READY = 256 };

static int poller;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void watch(int fd, void *owner) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = owner};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event)) fail("epoll_ctl");
}

static void send_at_once(int fd) {
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static struct sockaddr_in loopback(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

/* ---- the provider ---- */

struct client;
struct waker { /* what epoll hands back: a client's socket or its timer */
    int fd;
    struct client *client;
};
struct client {
    struct waker socket, timer;
    size_t length;
    int event; /* next one to send; -1 = no stream runs */
    int usage; /* asked for */
    int is_gone;
    struct client *next_gone;
    uint64_t due;
    char request[ROOM + 1];
};

static struct client *gone;
static int events_per_stream;
static uint64_t pace_ns;
static char completion[1024];
static size_t completion_length;

static const char STREAM_HEAD[] =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache\r\n"
    "Transfer-Encoding: chunked\r\n\r\n";
static const char CHUNK[] =
    "{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"bench-model\",";

static void prepare_completion(void) {
    char body[512];
    const char *start =
        "{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion\",\"created\":1700000000,\"model\":\"bench-model\","
        "\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"";
    const char *end = "\"},\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":105,"
                      "\"completion_tokens\":40,\"total_tokens\":145}}";
    const char *words = "A reply of fixed length stands for what a model would say. ";
    size_t length = strlen(start), last = 491 - strlen(end);
    memcpy(body, start, length);
    for (size_t i = 0; length < last; i++) body[length++] = words[i % strlen(words)];
    memcpy(body + last, end, strlen(end));
    completion_length = (size_t)sprintf(
        completion, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 491\r\n\r\n%.491s", body);
}

static int put(struct client *client, const char *bytes, size_t length) {
    return send(client->socket.fd, bytes, length, MSG_NOSIGNAL) == (ssize_t)length ? 0 : -1;
}

static size_t add_event(char *out, const char *data) {
    size_t length = strlen(data) + 8; /* "data: " and a blank line */
    return (size_t)sprintf(out, "%zx\r\ndata: %s\n\n\r\n", length, data);
}

static int put_event(struct client *client) {
    char data[512], out[2048];
    const char *role = client->event ? "" : "\"role\":\"assistant\",";
    sprintf(data, "%s\"choices\":[{\"index\":0,\"delta\":{%s\"content\":\"@%05d-%019llu \"},\"finish_reason\":null}]}",
            CHUNK, role, client->event, (unsigned long long)now_ns());
    size_t length = add_event(out, data);
    if (++client->event == events_per_stream) {
        client->event = -1;
        sprintf(data, "%s\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}", CHUNK);
        length += add_event(out + length, data);
        sprintf(data, "%s\"choices\":[],\"usage\":{\"prompt_tokens\":105,\"completion_tokens\":%d,"
                "\"total_tokens\":%d}}", CHUNK, events_per_stream, 105 + events_per_stream);
        if (client->usage) length += add_event(out + length, data);
        length += add_event(out + length, "[DONE]");
        length += (size_t)sprintf(out + length, "0\r\n\r\n");
    }
    return put(client, out, length);
}

static void set_timer(struct client *client) {
    struct itimerspec at = {.it_value = {(time_t)(client->due / 1000000000u), (long)(client->due % 1000000000u)}};
    timerfd_settime(client->timer.fd, TFD_TIMER_ABSTIME, &at, NULL);
}

static int go_on(struct client *client) {
    while (client->event >= 0) {
        if (put_event(client)) return -1;
        client->due += pace_ns;
        if (pace_ns && client->event >= 0) {
            set_timer(client);
            return 0;
        }
    }
    return 0;
}

static int says_true(const char *body, const char *name) {
    const char *at = strstr(body, name);
    if (!at) return 0;
    at += strlen(name);
    while (*at == ' ' || *at == ':') at++;
    return *at == 't';
}

static int answer(struct client *client, const char *body) {
    if (!says_true(body, "\"stream\"")) return put(client, completion, completion_length);
    client->event = 0;
    client->usage = says_true(body, "\"include_usage\"");
    client->due = now_ns();
    return put(client, STREAM_HEAD, sizeof STREAM_HEAD - 1) || go_on(client) ? -1 : 0;
}

static int take_requests(struct client *client) {
    ssize_t got = recv(client->socket.fd, client->request + client->length, ROOM - client->length, MSG_DONTWAIT);
    if (got <= 0) return got < 0 && errno == EAGAIN ? 0 : -1;
    client->length += (size_t)got;
    while (client->length && client->event < 0) {
        client->request[client->length] = 0;
        char *end = strstr(client->request, "\r\n\r\n");
        if (!end) return client->length < ROOM ? 0 : -1;
        char *stated = strcasestr(client->request, "\r\ncontent-length:");
        size_t body = stated && stated < end ? strtoul(stated + 17, NULL, 10) : 0;
        size_t whole = (size_t)(end + 4 - client->request) + body;
        if (whole > ROOM) return -1;
        if (client->length < whole) return 0;
        char next = client->request[whole];
        client->request[whole] = 0;
        if (answer(client, end + 4)) return -1;
        client->request[whole] = next;
        client->length -= whole;
        memmove(client->request, client->request + whole, client->length);
    }
    return 0;
}

static void welcome(int listener) {
    int fd = accept(listener, NULL, NULL);
    if (fd < 0) return;
    send_at_once(fd);
    struct client *client = calloc(1, sizeof *client);
    client->socket = (struct waker){fd, client};
    client->timer = (struct waker){timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK), client};
    client->event = -1;
    watch(fd, &client->socket);
    watch(client->timer.fd, &client->timer);
}

/* Freed after the round, which may still hold its other waker. */
static void drop(struct client *client) {
    close(client->socket.fd);
    close(client->timer.fd);
    client->is_gone = 1;
    client->next_gone = gone;
    gone = client;
}

static void serve(int port) {
    int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    struct sockaddr_in address = loopback(port);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 1024)) fail("listen");
    struct waker door = {listener, NULL};
    watch(listener, &door);
    prepare_completion();
    for (;;) {
        struct epoll_event ready[READY];
        int count = epoll_wait(poller, ready, READY, -1);
        for (int i = 0; i < count; i++) {
            struct waker *waker = ready[i].data.ptr;
            struct client *client = waker->client;
            uint64_t ticks;
            if (!client)
                welcome(waker->fd);
            else if (client->is_gone)
                continue;
            else if (waker == &client->socket ? take_requests(client)
                                              : read(waker->fd, &ticks, sizeof ticks) > 0 && go_on(client))
                drop(client);
        }
        while (gone) {
            struct client *next = gone->next_gone;
            free(gone);
            gone = next;
        }
    }
}

/* ---- the reader ---- */

enum part { HEAD, SIZE, DATA, AFTER_DATA, TRAILER, TO_CLOSE };
struct stream {
    int fd, status, expected, is_out_of_order, is_done, head_length;
    enum part part;
    size_t left;
    uint64_t sent, first;
    int mark;        /* characters read of "@number-time"; -1 = outside one */
    char text[32];   /* of the mark */
    int done_match;  /* characters matched of [DONE] */
    char head[8192];
};

static char *request;
static size_t request_length;
static int server_port, events_expected;
static uint32_t *delays, *firsts; /* microseconds */
static size_t delay_count, first_count, most_delays;
static long started, finished, whole, refused, lost, in_time;
static uint64_t stop;

static void open_stream(struct stream *stream) {
    struct sockaddr_in address = loopback(server_port);
    stream->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(stream->fd, (struct sockaddr *)&address, sizeof address)) fail("connect");
    send_at_once(stream->fd);
    watch(stream->fd, stream);
}

static void ask(struct stream *stream) {
    int fd = stream->fd;
    memset(stream, 0, sizeof *stream);
    stream->fd = fd;
    stream->mark = -1;
    stream->sent = now_ns();
    started++;
    if (send(fd, request, request_length, MSG_NOSIGNAL) != (ssize_t)request_length) fail("send");
}

static void see_mark(struct stream *stream, uint64_t now) {
    uint64_t then = strtoull(stream->text + 6, NULL, 10);
    if (atoi(stream->text) != stream->expected++) stream->is_out_of_order = 1;
    if (now < stop) in_time++;
    if (!stream->first) {
        stream->first = now;
        if (first_count < most_delays) firsts[first_count++] = (uint32_t)((now - stream->sent) / 1000);
    }
    if (delay_count < most_delays) delays[delay_count++] = now > then ? (uint32_t)((now - then) / 1000) : 0;
}

static void see_data(struct stream *stream, const char *data, size_t length, uint64_t now) {
    static const char DONE[] = "[DONE]";
    for (size_t i = 0; i < length; i++) {
        char c = data[i];
        if (stream->mark >= 0) {
            stream->text[stream->mark++] = c;
            if (stream->mark == 25) { /* 5 digits, a dash, 19 digits */
                stream->text[25] = 0;
                stream->mark = -1;
                see_mark(stream, now);
            }
        } else if (c == '@') {
            stream->mark = 0;
        }
        stream->done_match = c == DONE[stream->done_match] ? stream->done_match + 1 : c == '[';
        if (stream->done_match == 6) stream->is_done = 1, stream->done_match = 0;
    }
}

static void end_stream(struct stream *stream) {
    finished++;
    if (stream->status != 200) refused++;
    if (stream->status == 200 && stream->is_done && !stream->is_out_of_order && stream->expected == events_expected)
        whole++;
}

/* Read the head as far as it is there; return how many of the bytes were used. */
static size_t read_head(struct stream *stream, const char *data, size_t length) {
    for (size_t i = 0; i < length && stream->head_length < (int)sizeof stream->head - 1; i++) {
        stream->head[stream->head_length++] = data[i];
        stream->head[stream->head_length] = 0;
        if (stream->head_length < 4 || strcmp(stream->head + stream->head_length - 4, "\r\n\r\n")) continue;
        stream->status = atoi(stream->head + 9);
        char *stated = strcasestr(stream->head, "\r\ncontent-length:");
        stream->part = strcasestr(stream->head, "transfer-encoding: chunked") ? SIZE : TO_CLOSE;
        if (stated) {
            stream->part = TRAILER; /* an error with a body of known length: skip it */
            stream->left = strtoul(stated + 17, NULL, 10);
        }
        return i + 1;
    }
    return length;
}

/* Take bytes off the wire; return 1 when the answer is over. */
static int take(struct stream *stream, const char *data, size_t length, uint64_t now) {
    while (length) {
        size_t used = 1;
        switch (stream->part) {
        case HEAD:
            used = read_head(stream, data, length);
            if (stream->part == TRAILER && !stream->left) return 1;
            break;
        case SIZE:
            if (*data == '\n')
                stream->part = stream->left ? DATA : AFTER_DATA;
            else if (*data != '\r')
                stream->left = stream->left * 16 + (size_t)(*data <= '9' ? *data - '0' : (*data | 32) - 'a' + 10);
            break;
        case DATA:
            used = length < stream->left ? length : stream->left;
            see_data(stream, data, used, now);
            stream->left -= used;
            if (!stream->left) stream->part = AFTER_DATA, stream->left = 1;
            break;
        case AFTER_DATA: /* the line break after a chunk (left is 1), or the one that ends the answer (left is 0) */
            if (*data == '\n' && !stream->left) return 1;
            if (*data == '\n') stream->part = SIZE, stream->left = 0;
            break;
        case TRAILER:
            used = length < stream->left ? length : stream->left;
            stream->left -= used;
            if (!stream->left) return 1;
            break;
        case TO_CLOSE:
            used = length;
            see_data(stream, data, used, now);
        }
        data += used;
        length -= used;
    }
    return 0;
}

static int ascending(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static double quantile(uint32_t *values, size_t count, double share) {
    return count ? values[(size_t)(share * (double)(count - 1))] : -1.0;
}

static void read_request(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file) fail(path);
    request = malloc(ROOM);
    request_length = fread(request, 1, ROOM, file);
    fclose(file);
}

static void report(double seconds) {
    qsort(delays, delay_count, sizeof *delays, ascending);
    qsort(firsts, first_count, sizeof *firsts, ascending);
    printf("{\"seconds\": %.3f, \"streams\": %ld, \"finished\": %ld, \"whole\": %ld, \"refused\": %ld, \"lost\": %ld, ",
           seconds, started, finished, whole, refused, lost);
    printf("\"events\": %zu, \"events_per_second\": %.1f, ", delay_count, (double)in_time / seconds);
    printf("\"delay_p50_us\": %.0f, \"delay_p99_us\": %.0f, \"first_p50_us\": %.0f, \"first_p99_us\": %.0f}\n",
           quantile(delays, delay_count, 0.5), quantile(delays, delay_count, 0.99),
           quantile(firsts, first_count, 0.5), quantile(firsts, first_count, 0.99));
}

static void read_streams(int streams, double seconds, double spread_ms) {
    struct stream *all = calloc((size_t)streams, sizeof *all);
    uint64_t begin = now_ns(), gap = (uint64_t)(spread_ms * 1e6) / (uint64_t)streams;
    static char data[ROOM];
    stop = begin + (uint64_t)(seconds * 1e9);
    uint64_t give_up = stop + 30000000000u;
    int begun = 0, open = 0;
    do {
        if (begun < streams && now_ns() >= begin + (uint64_t)begun * gap) {
            open_stream(&all[begun]);
            ask(&all[begun++]);
            open++;
        }
        struct epoll_event ready[READY];
        int count = epoll_wait(poller, ready, READY, begun < streams ? 1 : 100);
        for (int i = 0; i < count; i++) {
            struct stream *stream = ready[i].data.ptr;
            ssize_t got = recv(stream->fd, data, sizeof data, MSG_DONTWAIT);
            if (got < 0 && errno == EAGAIN) continue;
            uint64_t now = now_ns();
            int is_over = got > 0 ? take(stream, data, (size_t)got, now) : stream->part == TO_CLOSE;
            if (got > 0 && !is_over) continue;
            if (is_over) end_stream(stream);
            else lost++;
            if (got <= 0) close(stream->fd);
            if (now >= stop || lost > 1000) {
                if (got > 0) close(stream->fd);
                open--;
                continue;
            }
            if (got <= 0) open_stream(stream);
            ask(stream);
        }
    } while ((open || begun < streams) && now_ns() < give_up);
    report(seconds);
}

int main(int count, char **words) {
    poller = epoll_create1(0);
    if (count == 5 && !strcmp(words[1], "serve")) {
        pace_ns = strtoul(words[3], NULL, 10) * 1000u;
        events_per_stream = atoi(words[4]);
        serve(atoi(words[2]));
    }
    if (count == 8 && !strcmp(words[1], "read")) {
        server_port = atoi(words[2]);
        events_expected = atoi(words[5]);
        most_delays = 1u << 22;
        delays = malloc(most_delays * sizeof *delays);
        firsts = malloc(most_delays * sizeof *firsts);
        read_request(words[7]);
        read_streams(atoi(words[3]), atof(words[4]), atof(words[6]));
        return 0;
    }
    fprintf(stderr, "upstream serve PORT PACE_US EVENTS | upstream read PORT STREAMS SECONDS EVENTS SPREAD_MS FILE\n");
    return 2;
}
