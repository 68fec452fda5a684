module github.com/oomlab/oomlab

go 1.26
