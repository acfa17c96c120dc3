#if CommandLine
import ArgumentParser
@main struct M: ParsableCommand {}
#else
@main struct M { static func main() { print("build with --traits CommandLine") } }
#endif
