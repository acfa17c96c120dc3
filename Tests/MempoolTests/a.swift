import Testing
@testable import MempoolCore
