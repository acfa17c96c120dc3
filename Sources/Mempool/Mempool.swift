import MempoolCore

