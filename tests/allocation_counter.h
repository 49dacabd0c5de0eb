// How often the program has asked for heap memory, so that a test can promise "no allocation after warm-up"
// or "no more than the file's size". Linking allocation_counter.cpp replaces the global operator new of the
// whole test program.
#pragma once

#include <cstdint>

namespace steelyard::test {

int64_t allocations();      // calls of operator new since the start, all threads
int64_t allocated_bytes();  // what they asked for together; freeing does not lower it

}  // namespace steelyard::test
