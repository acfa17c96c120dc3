import MempoolCore
@c(mempool_init) public func mempoolInit() -> Int32 { 0 }
