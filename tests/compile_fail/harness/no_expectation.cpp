static_assert(false, "nobody expects this");
