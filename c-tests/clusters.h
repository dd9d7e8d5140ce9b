// What tests of clusters do again and again.
#ifndef CLUSTERS_H
#define CLUSTERS_H

#include "check.h"

static inline mj_cluster* new_cluster(size_t cores) {
  mj_cluster* made = mj_cluster_create(&(mj_cluster_options){.cores = cores});
  CHECK(made != NULL);
  return made;
}

static inline void join_and_destroy(mj_cluster* ended) {
  CHECK_INT(mj_cluster_join(ended), ==, 0);
  CHECK_INT(mj_cluster_destroy(ended), ==, 0);
}

static inline void run_to_its_end(mj_cluster* made) {
  CHECK_INT(mj_cluster_start(made), ==, 0);
  join_and_destroy(made);
}

#endif
