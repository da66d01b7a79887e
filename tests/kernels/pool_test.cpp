// The thread pool: every index once, from many callers, at any size, and in a forked child.
#include "parallel.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "batch.hpp"
#include "check.hpp"

using namespace stablesoftmax;

namespace {

// parallel_for with any callable.
template <class Function>
void each_part(size_t count, size_t threads, Function f) {
    auto call = [](void *argument, size_t first, size_t last) { (*static_cast<Function *>(argument))(first, last); };
    parallel_for(count, threads, call, &f);
}

// How often each index was handled, less one: nothing but zeros is right.
size_t wrong_indices(size_t count, size_t threads) {
    std::vector<std::atomic<int>> hits(count);
    each_part(count, threads, [&](size_t first, size_t last) {
        for (size_t k = first; k < last; ++k) hits[k].fetch_add(1, std::memory_order_relaxed);
    });
    size_t wrong = 0;
    for (auto &hit : hits) wrong += hit != 1;
    return wrong;
}

// Sizes go up and down, so that the pool grows, and has more workers than a call may use.
void test_every_index_once() {
    for (size_t threads : {1, 2, 7, 3, 16, 0, 2})
        for (size_t count : {0, 1, 2, 3, 6, 7, 8, 100, 1001}) {
            const size_t wrong = wrong_indices(count, threads);
            CHECK(wrong == 0, "%zu of %zu indices, %zu threads", wrong, count, threads);
        }
}

// The most threads that were in a call at once. A part waits for another until there is one, and then a
// little for one too many.
size_t most_at_once(size_t threads) {
    using namespace std::chrono_literals;
    const auto deadline = std::chrono::steady_clock::now() + 20s;
    std::atomic<size_t> working{0}, most{0};
    each_part(4 * threads, threads, [&](size_t, size_t) {
        const size_t now = ++working;
        for (size_t seen = most; now > seen && !most.compare_exchange_weak(seen, now);) {}
        while (threads > 1 && most < 2 && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
        std::this_thread::sleep_for(1ms);
        --working;
    });
    return most;
}

void test_concurrency() {
    for (size_t threads : {1, 2, 5, 3}) {
        const size_t most = most_at_once(threads);
        CHECK(most <= threads, "%zu at once, %zu threads", most, threads);
        CHECK(threads == 1 || most > 1, "nobody came to help, %zu threads", threads);
    }
}

// A part that calls again does it alone, on its own thread.
void test_nested() {
    std::atomic<size_t> total{0}, strangers{0};
    each_part(8, 4, [&](size_t first, size_t last) {
        for (size_t k = first; k < last; ++k) {
            const auto me = std::this_thread::get_id();
            each_part(10, 4, [&](size_t from, size_t to) {
                total += to - from;
                strangers += std::this_thread::get_id() != me;
            });
        }
    });
    CHECK(total == 80, "%zu of 80", total.load());
    CHECK(strangers == 0, "%zu parts on another thread", strangers.load());
}

void test_many_callers() {
    std::atomic<size_t> wrong{0};
    std::vector<std::thread> callers;
    for (size_t c = 0; c < 12; ++c)
        callers.emplace_back([&, c] {
            for (size_t round = 0; round < 100; ++round) wrong += wrong_indices(round, 1 + (c + round) % 5);
        });
    for (std::thread &caller : callers) caller.join();
    CHECK(wrong == 0, "%zu indices", wrong.load());
}

// ---------------------------------------------------------------------------------------------
// Kernels on the pool

const Kernels &any_kernels() {
    const char *error = nullptr;
    return *choose_kernels(nullptr, &error);
}

struct Work {
    Batch batch;
    Operation operation;
    Bytes expected;

    Work(Format format, Operation operation, size_t count, size_t length)
        : batch(format, count, length), operation(operation) {
        std::mt19937_64 random(length);
        for (size_t r = 0; r < count; ++r) fill_row(batch, r, balanced, random);
        set_thread_count(1);
        expected = result();
    }
    Bytes result() const {
        Bytes y(result_bytes(operation, batch));
        Job job = contiguous_job(operation, batch, y.data());
        run(any_kernels(), job, nullptr);
        return y;
    }
};

// A batch that is shared out by rows, and a row that is cut into parts.
const std::vector<Work> &works() {
    static const std::vector<Work> all = {{Format::float32, Operation::softmax, 40, 5000},
                                          {Format::float64, Operation::log_softmax, 1, (1 << 17) + 77},
                                          {Format::float32, Operation::logsumexp, 1, (1 << 18) - 1}};
    return all;
}

void test_kernels_at_once() {
    for (const Work &work : works())
        for (size_t threads : {2, 7, 1}) {
            set_thread_count(threads);
            CHECK(work.result() == work.expected, "other bits with %zu threads", threads);
        }
    // The number of threads changes under running calls.
    std::atomic<size_t> different{0};
    std::vector<std::thread> callers;
    for (size_t c = 0; c < 8; ++c)
        callers.emplace_back([&, c] {
            for (size_t round = 0; round < 6; ++round) {
                set_thread_count(1 + (c + round) % 5);
                const Work &work = works()[(c + round) % works().size()];
                different += work.result() != work.expected;
            }
        });
    for (std::thread &caller : callers) caller.join();
    CHECK(different == 0, "%zu results with other bits", different.load());
}

// ---------------------------------------------------------------------------------------------
// Fork

// What a child has to say: 0, or what went wrong.
int in_child() {
    alarm(60);  // a child that waits for threads that it has not got would wait for ever
    if (wrong_indices(1000, 4) != 0) return 1;
    if (most_at_once(3) < 2) return 2;
    set_thread_count(3);
    for (const Work &work : works())
        if (work.result() != work.expected) return 3;
    return 0;
}

// Fork while other threads have the pool, and hold its locks as often as not. They must not hold those of
// malloc: a child of AddressSanitizer's would wait for them.
void test_fork() {
    std::atomic<bool> enough{false};
    std::atomic<size_t> handled{0};
    std::vector<std::thread> callers;
    for (size_t c = 0; c < 3; ++c)
        callers.emplace_back([&] {
            while (!enough) each_part(50, 4, [&](size_t first, size_t last) { handled += last - first; });
        });
    for (int k = 0; k < 30; ++k) {
        std::fflush(stdout);
        const pid_t child = fork();
        if (child == 0) _exit(in_child());
        int status = 0;
        waitpid(child, &status, 0);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "fork %d: child ended with status %#x", k,
              static_cast<unsigned>(status));
    }
    enough = true;
    for (std::thread &caller : callers) caller.join();
    CHECK(handled > 0 && handled % 50 == 0, "%zu indices", handled.load());
    CHECK(wrong_indices(1000, 4) == 0, "the parent's pool after the forks");
}

// Who cannot follow a process with threads into its fork: ThreadSanitizer, and qemu, which aborts when the
// child makes a thread of its own.
const char *no_fork(bool emulated) {
#if defined(__SANITIZE_THREAD__)
    return "ThreadSanitizer";
#endif
    return emulated ? "qemu" : nullptr;
}

}  // namespace

// `pool emulated`: under qemu's user mode.
int main(int count, char **arguments) {
    const bool emulated = count > 1 && std::strcmp(arguments[1], "emulated") == 0;
    works();
    test_every_index_once();
    test_concurrency();
    test_nested();
    test_many_callers();
    test_kernels_at_once();
    if (const char *who = no_fork(emulated))
        std::printf("skipped: fork, with threads, under %s\n", who);
    else
        test_fork();
    return report();
}
