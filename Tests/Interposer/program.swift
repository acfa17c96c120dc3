// An ordinary Swift program: classes, arrays, strings, closures, Dispatch, tasks. Its output does not depend on the allocator.
import Dispatch
import Foundation

final class Node: @unchecked Sendable {
  let value: Int
  var children: [Node] = []
  init(_ value: Int) { self.value = value }

  func sum() -> Int { children.reduce(value) { $0 + $1.sum() } }
}

func tree(depth: Int, width: Int) -> Node {
  let node = Node(depth)
  if depth > 0 { for _ in 0..<width { node.children.append(tree(depth: depth - 1, width: width)) } }
  return node
}

final class Results: @unchecked Sendable {
  private let lock = NSLock()
  private(set) var values: [Int: Int] = [:]
  func set(_ index: Int, _ value: Int) { lock.withLock { values[index] = value } }
}

let results = Results()
let queues = (0..<8).map { DispatchQueue(label: "queue \($0)") }
let group = DispatchGroup()
for (index, queue) in queues.enumerated() {
  for round in 0..<50 {
    queue.async(group: group) {
      let root = tree(depth: 5, width: 4)
      var words: [String: [Int]] = [:]
      for i in 0..<200 { words["a word that is long enough to be on the heap \(i % 37)", default: []].append(i) }
      let text = words.keys.sorted().joined(separator: ", ").uppercased()
      results.set(index * 50 + round, root.sum() + text.utf8.count + words.values.reduce(0) { $0 + $1.count })
    }
  }
}
group.wait()
DispatchQueue.concurrentPerform(iterations: 200) { i in
  let data = Data((0..<(i * 100)).map { UInt8(truncatingIfNeeded: $0) })
  results.set(1000 + i, data.base64EncodedString().count)
}
let total = await withTaskGroup(of: Int.self) { tasks in
  for i in 0..<100 { tasks.addTask { tree(depth: 3, width: i % 7 + 1).sum() } }
  var sum = 0
  for await part in tasks { sum += part }
  return sum
}
print(results.values.count, results.values.values.reduce(0, &+), total)
