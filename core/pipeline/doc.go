// Package pipeline has no code of its own: its folders are the stages that a
// message passes, and its tests play whole messages through all of them.
//
//	receive ---> intake ---> commit ---> queue ---> deliver ---> mailboxes, next hops
//	                ^                                  |
//	                '------- DSNs, forwards, forks ----'
//
// events, policyrun and operate stand beside that way: policies that are told
// afterwards, policies that run by the clock or on a request, and operators.
package pipeline
