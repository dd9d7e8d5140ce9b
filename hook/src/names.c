// Names: the C library's own functions, with all that the system is set up to ask, by a thread of the pool.
//
// What a call is given is copied into a job, and what it finds stays there until the task takes it. So a task
// that is canceled leaves at once, and the thread releases what nobody takes.
#include <string.h>

#include "hook.h"

static char *copy_of(const char *text) { return text == NULL ? NULL : strdup(text); }

// ---- getaddrinfo(3)

struct lookup {
  char *node, *service;
  struct addrinfo hints, *found;
  bool has_hints;
  int code, error;
};

static void look_up(void *argument) {
  struct lookup *lookup = argument;
  const struct addrinfo *hints = lookup->has_hints ? &lookup->hints : NULL;
  lookup->code = REAL(getaddrinfo)(lookup->node, lookup->service, hints, &lookup->found);
  lookup->error = errno;
}

static void free_lookup(void *argument) {
  struct lookup *lookup = argument;
  free(lookup->node);
  free(lookup->service);
  if (lookup->found != NULL) freeaddrinfo(lookup->found);
  free(lookup);
}

EXPORT int HOOK(getaddrinfo)(const char *node, const char *service, const struct addrinfo *hints,
                             struct addrinfo **found) {
  // Numbers are not asked for anywhere.
  bool is_number = hints != NULL && hints->ai_flags & AI_NUMERICHOST;
  if (hooked(MJ_HOOK_NAMES) == NULL || is_number || !may_suspend())
    return REAL(getaddrinfo)(node, service, hints, found);
  struct lookup *lookup = calloc(1, sizeof *lookup);
  if (lookup == NULL) return EAI_MEMORY;
  lookup->node = copy_of(node);
  lookup->service = copy_of(service);
  if ((node != NULL && lookup->node == NULL) || (service != NULL && lookup->service == NULL)) {
    free_lookup(lookup);
    return EAI_MEMORY;
  }
  if (hints != NULL) {
    lookup->hints = *hints;
    lookup->has_hints = true;
  }
  int done = have_done(OFFLOAD_NAMES, look_up, lookup, free_lookup);
  if (done == -1) return EAI_SYSTEM;
  if (done == UNDONE) {
    free_lookup(lookup);
    return REAL(getaddrinfo)(node, service, hints, found);
  }
  int code = lookup->code, error = lookup->error;
  if (code == 0) {
    *found = lookup->found;
    lookup->found = NULL;
  }
  free_lookup(lookup);
  if (code == EAI_SYSTEM) errno = error;
  return code;
}

// ---- getnameinfo(3)

struct naming {
  struct sockaddr_storage address;
  socklen_t length;
  char host[NI_MAXHOST], service[NI_MAXSERV];
  bool wants_host, wants_service;
  int flags, code, error;
};

static void name(void *argument) {
  struct naming *naming = argument;
  naming->code = REAL(getnameinfo)((struct sockaddr *)&naming->address, naming->length,
                                   naming->wants_host ? naming->host : NULL, sizeof naming->host,
                                   naming->wants_service ? naming->service : NULL,
                                   sizeof naming->service, naming->flags);
  naming->error = errno;
}

static bool fits(const char *text, char *to, socklen_t room) {
  size_t bytes = strlen(text) + 1;
  if (bytes > room) return false;
  memcpy(to, text, bytes);
  return true;
}

EXPORT int HOOK(getnameinfo)(const struct sockaddr *address, socklen_t length, char *host,
                             socklen_t host_room, char *service, socklen_t service_room, int flags) {
  bool is_number = (flags & NI_NUMERICHOST) != 0 || host == NULL || host_room == 0;
  if (hooked(MJ_HOOK_NAMES) == NULL || is_number || length > sizeof(struct sockaddr_storage) ||
      address == NULL || !may_suspend())
    return REAL(getnameinfo)(address, length, host, host_room, service, service_room, flags);
  struct naming *naming = calloc(1, sizeof *naming);
  if (naming == NULL) return EAI_MEMORY;
  memcpy(&naming->address, address, length);
  naming->length = length;
  naming->flags = flags;
  naming->wants_host = true;
  naming->wants_service = service != NULL && service_room > 0;
  int done = have_done(OFFLOAD_NAMES, name, naming, free);
  if (done == -1) return EAI_SYSTEM;
  if (done == UNDONE) {
    free(naming);
    return REAL(getnameinfo)(address, length, host, host_room, service, service_room, flags);
  }
  int code = naming->code, error = naming->error;
  if (code == 0 && (!fits(naming->host, host, host_room) ||
                    (naming->wants_service && !fits(naming->service, service, service_room))))
    code = EAI_OVERFLOW;
  free(naming);
  if (code == EAI_SYSTEM) errno = error;
  return code;
}

// ---- gethostbyname(3) and its kin

// A host, and room behind it for what it points to.
struct host_job {
  struct hostent host;
  char *name;
  unsigned char address[sizeof(struct in6_addr)];
  socklen_t address_bytes;  // 0: by name.
  int family;
  int code, h_code, error;
  bool is_found;
  size_t room;
  char buffer[];
};

static void find_host(void *argument) {
  struct host_job *job = argument;
  struct hostent *found = NULL;
  job->code = job->address_bytes > 0
                  ? REAL(gethostbyaddr_r)(job->address, job->address_bytes, job->family, &job->host,
                                          job->buffer, job->room, &found, &job->h_code)
                  : REAL(gethostbyname2_r)(job->name, job->family, &job->host, job->buffer, job->room,
                                           &found, &job->h_code);
  job->error = errno;
  job->is_found = found != NULL;
}

static void free_host_job(void *argument) {
  struct host_job *job = argument;
  free(job->name);
  free(job);
}

// A job for a name, or, with bytes, for an address; NULL without memory.
static struct host_job *new_host_job(const void *key, socklen_t bytes, int family, size_t room) {
  struct host_job *job = calloc(1, sizeof *job + room);
  if (job == NULL) return NULL;
  job->room = room;
  job->family = family;
  job->address_bytes = bytes;
  if (bytes > 0) {
    memcpy(job->address, key, bytes);
  } else if ((job->name = strdup(key)) == NULL) {
    free(job);
    return NULL;
  }
  return job;
}

// A pointer into the job's buffer, as one into the caller's; a module of the system's may point elsewhere.
static char *moved(char *pointer, const struct host_job *job, char *buffer) {
  size_t at = (uintptr_t)pointer - (uintptr_t)job->buffer;
  return at < job->room ? buffer + at : pointer;
}

// Copies what was found to the caller's buffer, which is as large as the job's.
static void take_host(const struct host_job *job, struct hostent *host, char *buffer) {
  memcpy(buffer, job->buffer, job->room);
  *host = job->host;
  host->h_name = moved(host->h_name, job, buffer);
  host->h_aliases = (char **)moved((char *)host->h_aliases, job, buffer);
  host->h_addr_list = (char **)moved((char *)host->h_addr_list, job, buffer);
  for (char **one = host->h_aliases; one != NULL && *one != NULL; one++) *one = moved(*one, job, buffer);
  for (char **one = host->h_addr_list; one != NULL && *one != NULL; one++) *one = moved(*one, job, buffer);
}

// The buffers have to be aligned alike, for what is in them is.
enum { ALIGNED = 8 };

// A function with _r: 0 or a number of errno; UNDONE.
static int find_host_r(const void *key, socklen_t bytes, int family, struct hostent *host, char *buffer,
                       size_t room, struct hostent **result, int *h_code) {
  size_t skipped = -(uintptr_t)buffer % ALIGNED;
  *result = NULL;
  *h_code = NETDB_INTERNAL; // The number of errno says more.
  if (room < skipped) return ERANGE;
  struct host_job *job = new_host_job(key, bytes, family, room - skipped);
  if (job == NULL) return ENOMEM;
  int done = have_done(OFFLOAD_NAMES, find_host, job, free_host_job);
  if (done == -1) return errno;
  if (done == UNDONE) {
    free_host_job(job);
    return UNDONE;
  }
  int code = job->code;
  *h_code = job->h_code;
  if (job->is_found) {
    take_host(job, host, buffer + skipped);
    *result = host;
  }
  int error = job->error;
  free_host_job(job);
  errno = error;
  return code;
}

static bool is_name_hooked(void) { return hooked(MJ_HOOK_NAMES) != NULL && may_suspend(); }

EXPORT int HOOK(gethostbyname2_r)(const char *name_, int family, struct hostent *host, char *buffer,
                                  size_t room, struct hostent **result, int *h_code) {
  if (is_name_hooked()) {
    int code = find_host_r(name_, 0, family, host, buffer, room, result, h_code);
    if (code != UNDONE) return code;
  }
  return REAL(gethostbyname2_r)(name_, family, host, buffer, room, result, h_code);
}

EXPORT int HOOK(gethostbyname_r)(const char *name_, struct hostent *host, char *buffer, size_t room,
                                 struct hostent **result, int *h_code) {
  if (is_name_hooked()) {
    int code = find_host_r(name_, 0, AF_INET, host, buffer, room, result, h_code);
    if (code != UNDONE) return code;
  }
  return REAL(gethostbyname_r)(name_, host, buffer, room, result, h_code);
}

EXPORT int HOOK(gethostbyaddr_r)(const void *address, socklen_t bytes, int family, struct hostent *host,
                                 char *buffer, size_t room, struct hostent **result, int *h_code) {
  if (bytes > 0 && bytes <= sizeof(struct in6_addr) && is_name_hooked()) {
    int code = find_host_r(address, bytes, family, host, buffer, room, result, h_code);
    if (code != UNDONE) return code;
  }
  return REAL(gethostbyaddr_r)(address, bytes, family, host, buffer, room, result, h_code);
}

// ---- the same with the result in a place of the library's

// A result is good until the next call of the thread, say the functions. Here tasks take turns between a call
// and the use of its result, so the results of a number of calls stay.
enum { KEPT_HOSTS = 64 };

struct hosts {
  struct host_job *kept[KEPT_HOSTS];
  unsigned next;
};

static pthread_key_t hosts_key;
static bool has_hosts_key;

static void free_hosts(void *argument) {
  struct hosts *hosts = argument;
  for (unsigned i = 0; i < KEPT_HOSTS; i++)
    if (hosts->kept[i] != NULL) free_host_job(hosts->kept[i]);
  free(hosts);
}

__attribute__((constructor)) static void make_hosts_key(void) {
  has_hosts_key = pthread_key_create(&hosts_key, free_hosts) == 0;
}

static bool keep_host(struct host_job *job) {
  struct hosts *hosts = has_hosts_key ? pthread_getspecific(hosts_key) : NULL;
  if (hosts == NULL) {
    if (!has_hosts_key || (hosts = calloc(1, sizeof *hosts)) == NULL) return false;
    if (pthread_setspecific(hosts_key, hosts) != 0) {
      free(hosts);
      return false;
    }
  }
  struct host_job **place = &hosts->kept[hosts->next++ % KEPT_HOSTS];
  if (*place != NULL) free_host_job(*place);
  *place = job;
  return true;
}

// Whether the call was made. It is not where the real one is to be.
static bool find_host_kept(const void *key, socklen_t bytes, int family, struct hostent **result) {
  *result = NULL;
  for (size_t room = 1024;; room *= 4) {
    struct host_job *job = new_host_job(key, bytes, family, room);
    if (job == NULL) return false;
    int done = have_done(OFFLOAD_NAMES, find_host, job, free_host_job);
    if (done == -1) {
      h_errno = NETDB_INTERNAL;
      return true;
    }
    if (done == UNDONE) {
      free_host_job(job);
      return false;
    }
    bool is_short = job->code == ERANGE && job->h_code == NETDB_INTERNAL;
    if (is_short && room < 1 << 20) {
      free_host_job(job);
      continue;
    }
    int h_code = job->h_code, error = job->error;
    if (job->is_found && keep_host(job)) {
      *result = &job->host;
    } else {
      if (job->is_found) h_code = NETDB_INTERNAL, error = ENOMEM;
      free_host_job(job);
    }
    if (*result == NULL) h_errno = h_code, errno = error;
    return true;
  }
}

EXPORT struct hostent *HOOK(gethostbyname2)(const char *name_, int family) {
  struct hostent *result;
  if (is_name_hooked() && find_host_kept(name_, 0, family, &result)) return result;
  return REAL(gethostbyname2)(name_, family);
}

EXPORT struct hostent *HOOK(gethostbyname)(const char *name_) {
  struct hostent *result;
  if (is_name_hooked() && find_host_kept(name_, 0, AF_INET, &result)) return result;
  return REAL(gethostbyname)(name_);
}

EXPORT struct hostent *HOOK(gethostbyaddr)(const void *address, socklen_t bytes, int family) {
  struct hostent *result;
  if (bytes > 0 && bytes <= sizeof(struct in6_addr) && is_name_hooked() &&
      find_host_kept(address, bytes, family, &result))
    return result;
  return REAL(gethostbyaddr)(address, bytes, family);
}
