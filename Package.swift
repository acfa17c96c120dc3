// swift-tools-version: 6.2
import PackageDescription

// Floors 0–7 and the C face are compiled twice from one source: as ordinary Swift for the library, and, with the
// trait `Interposer`, as Embedded Swift for the shared libraries, which then need nothing but libc.
let engineSettings: [SwiftSetting] = [
  .swiftLanguageMode(.v6),
  .enableExperimentalFeature("Embedded", .when(traits: ["Interposer"])),
  .enableUpcomingFeature("MemberImportVisibility"),
]

let faceSettings: [SwiftSetting] = [
  .swiftLanguageMode(.v6),
  .enableUpcomingFeature("MemberImportVisibility"),
  .enableUpcomingFeature("ExistentialAny"),
  // Handles of contexts do not escape: their functions say on what they depend.
  .enableExperimentalFeature("Lifetimes"),
  .strictMemorySafety(),
]

let toolSettings: [SwiftSetting] = [
  .swiftLanguageMode(.v6),
  .enableUpcomingFeature("MemberImportVisibility"),
  .enableUpcomingFeature("ExistentialAny"),
]

let package = Package(
  name: "mempool",
  products: [
    .library(name: "Mempool", targets: ["Mempool"]),
    .library(name: "CMempool", targets: ["CMempool", "CMempoolHeaders"]),
    // Built by `make` with `--traits Interposer`, installed as libmempool.so, libmempool-malloc.so and
    // libmempool-talloc.so.
    .library(name: "mempool-c", type: .dynamic, targets: ["CMempool"]),
    .library(name: "mempool-malloc", type: .dynamic, targets: ["MempoolMalloc"]),
    .library(name: "mempool-talloc", type: .dynamic, targets: ["MempoolTalloc"]),
    .executable(name: "mempool", targets: ["MempoolCommand"]),
    .executable(name: "mempool-stress", targets: ["StressTests"]),
    // Linked with libFuzzer by `make fuzz`.
    .library(name: "mempool-fuzz", type: .static, targets: ["FuzzDrivers"]),
  ],
  traits: [
    .trait(name: "CommandLine", description: "Builds the command `mempool`, which needs swift-argument-parser."),
    .trait(name: "Interposer", description: "Compiles the engine as Embedded Swift, for the shared libraries."),
    .trait(name: "Valgrind", description: "Tells valgrind's memcheck of every object, which needs valgrind's headers."),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2")
  ],
  targets: [
    .systemLibrary(
      name: "CAtomicOps",
      pkgConfig: "atomic_ops",
      providers: [.apt(["libatomic-ops-dev"])]
    ),
    .target(
      name: "CMempoolShims",
      dependencies: ["CAtomicOps"],
      cSettings: [.define("MP_INTERPOSER", .when(traits: ["Interposer"]))]
    ),
    // Valgrind's headers: nothing looks for them without the trait.
    .systemLibrary(name: "CValgrind"),
    .target(
      name: "MempoolCore",
      dependencies: ["CMempoolShims", .target(name: "CValgrind", condition: .when(traits: ["Valgrind"]))],
      swiftSettings: engineSettings
    ),
    .target(name: "CMempoolHeaders", path: "Sources/CMempool", sources: ["header.c"], publicHeadersPath: "include"),
    .target(
      name: "CMempool",
      dependencies: ["CMempoolHeaders", "MempoolCore"],
      path: "Sources/CMempool",
      exclude: ["include", "header.c", "exports.txt"],
      swiftSettings: engineSettings
    ),
    .target(
      name: "CMempoolMalloc", path: "Sources/MempoolMalloc/System",
      cSettings: [.define("MP_INTERPOSER", .when(traits: ["Interposer"]))]
    ),
    .target(
      name: "MempoolMalloc",
      dependencies: ["CMempoolMalloc", "MempoolCore"],
      exclude: ["System", "README.md", "exports.txt"],
      swiftSettings: engineSettings
    ),
    .target(name: "CMempoolTalloc", path: "Sources/MempoolTalloc/System"),
    .target(
      name: "MempoolTalloc",
      dependencies: ["CMempoolTalloc", "MempoolCore"],
      exclude: ["System", "README.md", "exports.txt"],
      swiftSettings: engineSettings
    ),
    .target(name: "Mempool", dependencies: ["MempoolCore"], swiftSettings: faceSettings),
    // What `mempool study` measures, simulates and draws.
    .target(
      name: "MempoolStudy", dependencies: ["CMempoolShims", "MempoolCore"], exclude: ["README.md", "Recorder"],
      swiftSettings: toolSettings
    ),
    .executableTarget(
      name: "MempoolCommand",
      dependencies: [
        "Mempool", "MempoolCore", "MempoolStudy", "CMempoolShims",
        .product(
          name: "ArgumentParser", package: "swift-argument-parser", condition: .when(traits: ["CommandLine"])
        ),
      ],
      swiftSettings: toolSettings
    ),
    .executableTarget(
      name: "StressTests", dependencies: ["CMempoolShims", "Mempool", "MempoolCore"], path: "StressTests",
      exclude: ["README.md"],
      swiftSettings: toolSettings
    ),
    .target(
      name: "FuzzDrivers", dependencies: ["CMempool", "CMempoolHeaders", "Mempool", "MempoolCore", "MempoolMalloc"],
      path: "Fuzz/Drivers", swiftSettings: toolSettings
    ),
    .testTarget(name: "FuzzTests", dependencies: ["FuzzDrivers"], exclude: ["corpus.txt"], swiftSettings: toolSettings),
    .testTarget(name: "MempoolCoreTests", dependencies: ["MempoolCore"], swiftSettings: toolSettings),
    .testTarget(
      name: "CMempoolTests", dependencies: ["CMempool", "CMempoolHeaders", "MempoolCore"], swiftSettings: toolSettings
    ),
    .testTarget(
      name: "MempoolStudyTests", dependencies: ["MempoolCore", "MempoolStudy"], swiftSettings: toolSettings),
    .testTarget(name: "MempoolTests", dependencies: ["Mempool", "MempoolCore"], swiftSettings: toolSettings),
  ]
)
