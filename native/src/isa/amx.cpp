#include "../simd/amx.hpp"

#define UNROLLED_ISA_NAME amx
#define UNROLLED_ISA_TILES
#include "../kernels/table.hpp"
