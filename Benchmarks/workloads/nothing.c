// A program that allocates nothing: what an allocator costs by being there.
int main(void) { return 0; }
