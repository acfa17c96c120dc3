import Testing

@testable import MempoolCore

@Suite struct ContextPropertyTests {
  @Test(
    "X2, X3: random calls against a plain model: the same trees, order of destructors, totals; charges come back",
    arguments: [false, true], [false, true])
  func agreesWithAShadowModel(isStrict: Bool, isLimited: Bool) throws {
    let seed = SplitMix64.seed("Context.agreesWithAShadowModel(\(isStrict), \(isLimited))")
    let model = ContextModel(seed: seed, isStrict: isStrict)
    for step in 0..<20_000 {
      do {
        try one(model, isLimited, isGrowing: step / 500 % 2 == 0)
        if step % 20 == 0 { try model.compare() }
      } catch {
        throw Broken(description: "seed \(seed), step \(step): \(error)")
      }
    }
    try model.compare()
    while let root = model.roots.first {
      // A reference to it from elsewhere, or its destructor, may keep it for now.
      try model.free(root)
      try model.compare()
    }
    #expect(model.nodes.isEmpty)
  }

  private func one(_ model: ContextModel, _ isLimited: Bool, isGrowing: Bool) throws {
    let size = model.random.below(20) == 0 ? model.random.below(6000) + 16 : model.random.below(200) + 16
    switch model.random.below(32) {
    case 0..<(isGrowing ? 13 : 6): try model.allocate(size, under: model.random.below(12) == 0 ? nil : model.any())
    case 13:
      let own = 16 + model.random.below(60)
      try model.allocate(own, under: model.any(), pool: model.random.below(4000))
    case 14, 15:
      guard let node = model.any(), let parent = model.any(), !node.isAbove(parent) else { return }
      model.move(node, to: model.random.below(10) == 0 ? nil : parent)
    case 16:
      if let node = model.any() { model.setDestructor(node, refuses: model.random.below(3) == 0) }
    case 17, 18:
      if let node = model.any(), let owner = model.any() { try model.refer(node, from: owner) }
    case 19:
      guard let node = model.any() else { return }
      try model.unlink(
        node, from: model.random.below(3) == 0 ? model.any() : node.references.last?.parent ?? node.parent)
    case 20..<26:
      if let node = model.any() { try model.reallocate(node, size) }
    case 26 where isLimited:
      guard let node = model.any() else { return }
      let limit = UInt(model.random.below(4) == 0 ? 0 : model.random.below(30_000))
      #expect(node.block.setLimit(limit))
    case 27:
      if let node = model.any() { model.freeChildren(node) }
    default:
      if let node = model.any() { try model.free(node) }
    }
  }
}
