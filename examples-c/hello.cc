// Tasks in C++17, by majjen.hpp: one sends, others greet, each at its own pace, and one waits for them all.
//
//   c++ -std=c++17 -Iinclude examples-c/hello.cc -Ltarget/release -lmajjen -Wl,-rpath,"$PWD/target/release"

#include <majjen.hpp>

#include <iostream>
#include <mutex>
#include <string>

using namespace std::chrono_literals;

int main() {
  mj_log_set_level(MJ_LOG_WARN);
  majjen::scheduler scheduler(setup_scheduler_with_epoll());
  int greeted = 0;
  const int refused = scheduler.go([&] {
    majjen::channel<std::string> names;  // unbuffered: a sender waits until its name has been received
    majjen::mutex out;
    majjen::deadline limit(majjen::ns(10s));  // also for the members of the group
    majjen::group greeters(scheduler);
    for (int number = 0; number < 3; number++) {
      greeters.go([&, number] {
        std::string name;
        while (names.recv(name) == 0) {
          mj_sleep_ns(majjen::ns(number * 1ms));
          std::lock_guard<majjen::mutex> guard(out);
          std::cout << "Hello, " << name << "!\n";
          greeted++;
        }
      });
    }
    for (const char* name : {"Ada", "Bjarne", "Grace", "Ken", "Margaret"}) names.send(name);
    names.close();
    const int result = greeters.wait();
    if (result != 0) std::cerr << "greeters: " << majjen::error(result).message() << "\n";
  });
  if (refused != 0) std::cerr << "no task: " << majjen::error(refused).message() << "\n";
  scheduler.run();
  return greeted == 5 ? 0 : 1;
}
