// The guide's server on all processors: its handlers as they are, with a main of its own. Each core accepts, and
// hands connections over where it has more of them than others.
//
// SIGINT and SIGTERM: connections have ten seconds to end, a second one ends them at once.
#include "majjen.h"
#include <sys/socket.h>
#include <netinet/in.h>
#include <unistd.h>

// Task state for HTTP connection
typedef struct http_connection {
    int socket_fd;
    char buffer[4096];
    size_t bytes_read;
    time_t last_activity;
} http_connection;

// Periodic cleanup task
void cleanup_task(mj_scheduler* sched, void* user_state) {
    int* iteration = (int*)user_state;
    (*iteration)++;
    
    MJ_INFO("Cleanup task iteration %d", *iteration);
    
    // Run cleanup every 30 seconds
    if (*iteration < 100) {
        mj_task_sleep_s(30);
    } else {
        MJ_INFO("Cleanup task exiting after 100 iterations");
        mj_task_exit();
    }
}

// HTTP connection handler
void handle_connection(mj_scheduler* sched, void* user_state) {
    http_connection* conn = (http_connection*)user_state;
    
    // Wait for data to be readable
    mj_task_wait_readable(conn->socket_fd);
    
    // Read data
    ssize_t n = read(conn->socket_fd, 
                     conn->buffer + conn->bytes_read,
                     sizeof(conn->buffer) - conn->bytes_read);
    
    if (n <= 0) {
        // Connection closed or error
        MJ_DEBUG("Connection closed on fd %d", conn->socket_fd);
        close(conn->socket_fd);
        mj_task_exit();
        return;
    }
    
    conn->bytes_read += n;
    conn->last_activity = time(NULL);
    
    // Simple HTTP response
    if (strstr(conn->buffer, "\r\n\r\n") != NULL) {
        const char* response = 
            "HTTP/1.1 200 OK\r\n"
            "Content-Type: text/plain\r\n"
            "Content-Length: 13\r\n"
            "\r\n"
            "Hello, World!";
        
        write(conn->socket_fd, response, strlen(response));
        close(conn->socket_fd);
        mj_task_exit();
    }
    
    // Check for timeout (30 seconds)
    if (time(NULL) - conn->last_activity > 30) {
        MJ_WARN("Connection timeout on fd %d", conn->socket_fd);
        close(conn->socket_fd);
        mj_task_exit();
    }
}

// The state of a connection's task
static void* new_connection(int fd, void* user_data) {
    (void)user_data;
    http_connection* conn = calloc(1, sizeof(http_connection));
    if (conn != NULL) {
        conn->socket_fd = fd;
        conn->last_activity = time(NULL);
    }
    return conn;
}

// The cleanup task keeps no core running
static void cleanup_daemon(mj_scheduler* sched, void* user_state) {
    mj_task_set_daemon(true);
    cleanup_task(sched, user_state);
    if (mj_yield() == -ECANCELED) mj_task_exit();
}

// Before a core runs
static int set_up(mj_scheduler* sched, size_t core, void* user_data) {
    (void)user_data;
    if (core > 0) return 0;
    return mj_create_task(sched, cleanup_daemon, calloc(1, sizeof(int))) != NULL ? 0 : -errno;
}

int main(int argc, char** argv) {
    mj_log_set_level(MJ_LOG_INFO);

    mj_cluster_options options = {.cores = MJ_ALL_CORES, .name = "http", .set_up = set_up};
    mj_cluster* cluster = mj_cluster_create(&options);
    if (cluster == NULL) {
        MJ_ERROR("No cluster: %s", strerror(errno));
        return 1;
    }

    mj_service service = {.handler = handle_connection, .connection = new_connection};
    int port = mj_cluster_listen(cluster, "0.0.0.0", argc > 1 ? argv[1] : "8080", &service);
    if (port < 0) {
        MJ_ERROR("Listen failed: %s", strerror(-port));
        mj_cluster_destroy(cluster);
        return 1;
    }
    MJ_INFO("HTTP server listening on port %d, on %zu cores", port, mj_cluster_size(cluster));

    int ended = mj_cluster_run(cluster, UINT64_C(10000000000));

    // Print final metrics
    static char page[64 * 1024];
    mj_cluster_write_metrics(cluster, page, sizeof(page), MJ_METRICS_TEXT);
    fputs(page, stdout);
    mj_cluster_destroy(cluster);
    MJ_INFO("Server stopped");
    return ended == 0 ? 0 : 1;
}
