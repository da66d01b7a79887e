#include "parallel.hpp"

#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include <atomic>
#include <cfenv>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <new>
#include <thread>

namespace stablesoftmax {
namespace {

// What the parts of one call share. Lives on the caller's stack while `Pool::helpers` work on it.
struct Call {
    Part part;
    void *argument;
    size_t count, piece;
    std::atomic<size_t> next{0};

    // Take pieces until none is left.
    void work() {
        for (;;) {
            size_t first = next.fetch_add(piece, std::memory_order_relaxed);
            if (first >= count) return;
            part(argument, first, count - first < piece ? count : first + piece);
        }
    }
};

// Wait a little for what another thread is about to do: calls of tens of microseconds often come in
// rows, and waking a sleeping thread costs as much as one of them.
template <class Condition>
void spin_until(Condition met) {
    constexpr int patience = 2000;  // some 50 to 100 microseconds
    for (int i = 0; i < patience && !met(); ++i) {
#if defined(__x86_64__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        __asm__ volatile("yield");
#endif
    }
}

struct Pool {
    std::mutex in_use;  // held by the call that has the pool
    std::mutex mutex;   // held to write what follows; the two counts may be read without
    std::condition_variable wake, done;
    Call *call = nullptr;
    std::atomic<size_t> wanted{0};   // helpers that may still join the call
    std::atomic<size_t> helping{0};  // helpers at work on it
    size_t workers = 0;

    void serve() {
        std::fesetenv(FE_DFL_ENV);  // a thread inherits its maker's rounding and flushing
        for (;;) {
            spin_until([&] { return wanted > 0; });
            std::unique_lock<std::mutex> lock(mutex);
            if (wanted == 0) wake.wait(lock);
            if (wanted == 0) continue;  // woken too late: spin for the next call
            --wanted;
            ++helping;
            Call *mine = call;
            lock.unlock();
            mine->work();
            lock.lock();
            if (--helping == 0) done.notify_one();
            lock.unlock();
        }
    }

    // At most `count` workers; fewer where the system grants no more.
    size_t grow(size_t count) {
        constexpr size_t stack = 1 << 20;  // musl's default of 128 KiB is too near a staged row's blocks
        pthread_attr_t attributes;
        if (pthread_attr_init(&attributes)) return workers;
        pthread_attr_setstacksize(&attributes, stack);
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        auto start = [](void *pool) -> void * {
            static_cast<Pool *>(pool)->serve();
            return nullptr;
        };
        // Signals are the program's: a worker that took one which every thread of the program blocks
        // would end the process, and `sigwait` would never see it. A new thread inherits its maker's mask.
        sigset_t all, mine;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &mine);
        pthread_t thread;
        while (workers < count && !pthread_create(&thread, &attributes, start, this)) ++workers;
        pthread_sigmask(SIG_SETMASK, &mine, nullptr);
        pthread_attr_destroy(&attributes);
        return workers;
    }

    void run(Call &mine, size_t helpers) {
        {
            std::lock_guard<std::mutex> lock(mutex);
            helpers = grow(helpers) < helpers ? workers : helpers;
            call = &mine;
            wanted = helpers;
        }
        helpers == 1 ? wake.notify_one() : wake.notify_all();
        mine.work();
        std::unique_lock<std::mutex> lock(mutex);
        wanted = 0;  // whoever has not woken by now is not needed
        lock.unlock();
        spin_until([&] { return helping == 0; });
        lock.lock();
        done.wait(lock, [&] { return helping == 0; });
        call = nullptr;
    }
};

// Never destroyed: workers may outlive static destruction.
alignas(Pool) unsigned char pool_storage[sizeof(Pool)];

Pool &pool() {
    static Pool *made = [] {
        auto *fresh = new (pool_storage) Pool;
        // A forked child has this thread alone: whatever the pool was at, it starts empty.
        pthread_atfork(nullptr, nullptr, [] { new (pool_storage) Pool; });
        return fresh;
    }();
    return *made;
}

size_t usable_cpus() {
#if defined(__linux__)
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return static_cast<size_t>(CPU_COUNT(&set));
#endif
    size_t count = std::thread::hardware_concurrency();
    return count ? count : 1;
}

size_t initial_thread_count() {
    if (const char *text = std::getenv("STABLESOFTMAX_NUM_THREADS")) {
        long asked = std::strtol(text, nullptr, 10);
        if (asked > 0) return static_cast<size_t>(asked);
    }
    return usable_cpus();
}

std::atomic<size_t> &threads() {
    static std::atomic<size_t> count{initial_thread_count()};
    return count;
}

// Whether this thread's call has the pool: a mutex must not be tried by the thread that holds it.
thread_local bool has_pool = false;

}  // namespace

void prepare_pool() {
    pool();
    threads();
}

size_t thread_count() { return threads().load(std::memory_order_relaxed); }

void set_thread_count(size_t count) { threads().store(count, std::memory_order_relaxed); }

void parallel_for(size_t count, size_t threads, Part part, void *argument) {
    if (threads > count) threads = count;
    if (threads > 1 && !has_pool) {
        std::unique_lock<std::mutex> lock(pool().in_use, std::try_to_lock);
        if (lock.owns_lock()) {
            // Four pieces a thread: one that is slow, or wakes late, leaves its share to the rest.
            size_t piece = (count + 4 * threads - 1) / (4 * threads);
            Call call{part, argument, count, piece};
            has_pool = true;
            pool().run(call, threads - 1);
            has_pool = false;
            return;
        }
    }
    if (count > 0) part(argument, 0, count);
}

}  // namespace stablesoftmax
