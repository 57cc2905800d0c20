// The few words the tests need: CHECK, and a list of tests that run in order.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <initializer_list>

#define CHECK(condition)                                                             \
  do {                                                                               \
    if (!(condition)) {                                                              \
      std::fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition); \
      std::exit(1);                                                                  \
    }                                                                                \
  } while (false)

// Numbers from a counter: the same on every machine.
struct Random {
  unsigned long long state;
  double next() {  // in [-1, 1)
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return static_cast<double>(state >> 11) / 4503599627370496.0 - 1.0;
  }
  int below(int n) { return static_cast<int>((next() + 1) / 2 * n); }
};

void test_threads();
void test_memory();
void test_product();
void test_recurrent();
void test_stepper();
void test_training();
