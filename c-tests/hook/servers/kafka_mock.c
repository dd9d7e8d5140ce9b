// A broker for Kafka's clients, of librdkafka's own: kafka_mock COUNT [full]. Prints where it listens, takes so many
// messages from a producer of its own in some time, or before it prints that, and ends with its standard input.
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void announce(const char *brokers) {
  printf("%s\n", brokers);
  fflush(stdout);
}

int main(int argc, char **argv) {
  const int count = argc > 1 ? atoi(argv[1]) : 1, is_full = argc > 2;
  char error[512], text[40];
  rd_kafka_conf_t *settings = rd_kafka_conf_new();
  rd_kafka_conf_set(settings, "bootstrap.servers", "127.0.0.1:1", error, sizeof error);  // Never asked.
  rd_kafka_conf_set(settings, "log_level", "0", error, sizeof error);
  rd_kafka_t *owner = rd_kafka_new(RD_KAFKA_PRODUCER, settings, error, sizeof error);
  rd_kafka_mock_cluster_t *cluster = rd_kafka_mock_cluster_new(owner, 1);
  const char *brokers = rd_kafka_mock_cluster_bootstraps(cluster);
  if (rd_kafka_mock_topic_create(cluster, "news", 2, 1) != RD_KAFKA_RESP_ERR_NO_ERROR) return 1;
  settings = rd_kafka_conf_new();
  rd_kafka_conf_set(settings, "bootstrap.servers", brokers, error, sizeof error);
  rd_kafka_t *producer = rd_kafka_new(RD_KAFKA_PRODUCER, settings, error, sizeof error);
  if (!is_full) announce(brokers);
  for (int number = 0; number < count; number++) {
    int bytes = snprintf(text, sizeof text, "message %d", number);
    rd_kafka_producev(producer, RD_KAFKA_V_TOPIC("news"), RD_KAFKA_V_VALUE(text, (size_t)bytes),
                      RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END);
    if (!is_full && number % 10 == 9) {  // The consumer sleeps in between.
      rd_kafka_flush(producer, 10000);
      usleep(100000);
    }
  }
  rd_kafka_flush(producer, 10000);
  if (is_full) announce(brokers);
  while (getchar() != EOF) continue;
  return 0;
}
