module tidegate.example/fixtures

go 1.24
