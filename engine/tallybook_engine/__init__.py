"""The rules of Tallybook as pure functions over values: no gRPC, no Protobuf, no files, no clock."""
