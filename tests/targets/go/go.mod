module tenon/target

go 1.18
