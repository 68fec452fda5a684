//go:build !linux || notlinux

package main

import "context"

func (a *app) doctor(context.Context, string) error { return notHere("oomlab doctor") }

func (a *app) cleanHere(context.Context, bool, bool) error { return notHere("oomlab clean") }

func (a *app) rank(context.Context, rankFlags) error { return notHere("oomlab rank") }

func (a *app) judge(context.Context, judgeFlags) error { return notHere("oomlab judge") }

func (a *app) trace(context.Context, traceFlags) error { return notHere("oomlab trace") }
