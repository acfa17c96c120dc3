# A Swift program with Dispatch and classes: objects made on one thread, released on another.
packages=''
executables='program'
limit=120

prepare() { swiftc -O -swift-version 6 -parse-as-library "$FIXTURES/parcels.swift" -o program; }

run() { ./program; }
