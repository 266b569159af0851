// expect: the depth is wrong
static_assert(false, "the width is wrong");
