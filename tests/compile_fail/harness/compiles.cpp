// expect: anything
#include <fathom/core/config.hpp>
